"""Combinations, on real databases: rendered, checked, and their tests run as a user would."""

from itertools import product

import pytest

from .combinations import (
    BACKENDS,
    COMBINATIONS,
    ISOLATIONS,
    LOOP_SCOPES,
    RUNNERS,
    Combination,
    sample,
)
from .conftest import Generate
from .pythons import NEWEST, OLDEST
from .test_rendering import check_files

TRIED = [
    Combination(*answers)
    for *answers, _, _ in sample(
        [(*answers, answers.python, answers.test_client) for answers in COMBINATIONS], 2
    )
]


@pytest.mark.parametrize("combination", TRIED, ids=str)
def test_combination(generate_installed: Generate, combination: Combination) -> None:
    python = combination.python
    project = generate_installed(
        **combination._asdict(),
        test_client=combination.test_client,
        python=python,
        python_min=python,
    )
    check_files(project.files(), combination)
    project.check()
    output = project.run("pytest", "tests", "tests/harness/contract")
    assert (
        f"+{combination.driver}, {combination.isolation}, {combination.loop_scope} loop,"
        f" {combination.runner}; "
    ) in output
    assert f" Python {python}." in output
    assert " skipped" not in output


def test_each_answer_is_tried_on_the_oldest_python_and_on_the_newest() -> None:
    tried = {(combination.python, answer) for combination in TRIED for answer in combination}
    answers = *BACKENDS, *ISOLATIONS, *LOOP_SCOPES, *RUNNERS
    assert tried == {*product((OLDEST, NEWEST), answers)}
    tried_with = {(each.test_client, answer) for each in TRIED for answer in each}
    assert tried_with == {*product((True, False), answers)}
