"""A project as its owner has it: in an environment of its own, made from its own pyproject."""

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .pythons import NEWEST, OLDEST, PYTHONS, UV


@pytest.mark.parametrize("driver", BACKENDS)
def test_nothing_is_missing(generate: Generate, driver: str) -> None:
    if BACKENDS[driver] == "mysql":
        require_server("mysql")
    project = generate(driver=driver)
    project.run(UV, "run", "pytest", "-n", "2", "--cov", UV_PYTHON=PYTHONS[NEWEST])


@pytest.mark.parametrize("driver", BACKENDS)
def test_the_oldest_versions_will_do(generate: Generate, driver: str) -> None:
    if BACKENDS[driver] == "mysql":
        require_server("mysql")
    project = generate(driver=driver)
    project.run(UV, "sync", "--resolution", "lowest-direct", UV_PYTHON=PYTHONS[OLDEST])
    project.run(UV, "run", "--no-sync", "pytest", "-n", "2")
