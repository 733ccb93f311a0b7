"""Every combination, on real databases: rendered, checked, and its tests run as a user would."""

import pytest

from .combinations import COMBINATIONS, Combination
from .conftest import Generate
from .test_rendering import check_files


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_combination(generate_installed: Generate, combination: Combination) -> None:
    project = generate_installed(**combination._asdict())
    check_files(project.files(), combination)
    project.check()
    output = project.run("pytest")
    assert (
        f"+{combination.driver}, {combination.isolation}, {combination.loop_scope} loop,"
        f" {combination.runner}; "
    ) in output
    assert " skipped" not in output
