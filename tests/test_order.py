"""Tests give the same results in any order, alone, in parallel, in classes and in packages."""

import random
from pathlib import Path

import pytest

from .combinations import COMBINATIONS, Combination, sample
from .conftest import Generate

SHUFFLE = """

def pytest_collection_modifyitems(items):
    import random
    random.Random({seed}).shuffle(items)
"""


def shuffle(conftest: Path) -> None:
    """Let tests run in a random order, by a hook that is added to `conftest`."""
    seed = random.randrange(1000)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    conftest.write_text(conftest.read_text() + SHUFFLE.format(seed=seed))


IN_A_CLASS_OF_A_PACKAGE = """
import httpx2
import pytest


@pytest.mark.parametrize("attempt", [1, 2])
class TestItems:
    async def test_create(self, client: httpx2.AsyncClient, attempt: int) -> None:
        assert (await client.post("/items", json={"name": "chair"})).status_code == 201

    @pytest.mark.real_commits
    async def test_create_for_real(self, client: httpx2.AsyncClient, attempt: int) -> None:
        assert (await client.post("/items", json={"name": "chair"})).status_code == 201

    def test_without_a_loop(self, attempt: int) -> None:
        assert attempt
"""


CONTRACT = "tests/harness/contract"


@pytest.mark.parametrize("combination", sample(COMBINATIONS), ids=str)
def test_any_order_in_parallel(generate_installed: Generate, combination: Combination) -> None:
    project = generate_installed(**combination._asdict())
    for package in ("shop", "office"):
        folder = project.path / "tests" / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "test_chairs.py").write_text(IN_A_CLASS_OF_A_PACKAGE)
    shuffle(project.path / "tests/conftest.py")

    project.run("pytest", "-n", "2", "tests", CONTRACT)


def test_the_contract_is_run_when_it_is_asked_for(generate_installed: Generate) -> None:
    project = generate_installed()
    collect = "pytest", "--collect-only", "-q"
    for asked_for in ((), ("tests",), ("tests/harness",), ("tests/test_items.py",)):
        assert "contract" not in project.run(*collect, *asked_for)
    for contract in (CONTRACT, f"{project.path}/{CONTRACT}", f"{CONTRACT}/test_contract.py"):
        output = project.run(*collect, contract)
        assert "contract" in output
        assert "test_items" not in output
    one = f"{CONTRACT}/test_contract.py::TestCommit::test_later_requests_see_it"
    assert "1 passed" in project.run("pytest", one)


def test_alone_and_again(generate_installed: Generate) -> None:
    project = generate_installed()
    (project.path / "tests/test_failing.py").write_text(
        "async def test_fails(client):\n"
        "    assert (await client.post('/items', json={'name': 'chair'})).status_code == 0\n"
    )
    assert "1 failed" in project.run("pytest", exit_code=1)
    assert "1 failed" in project.run("pytest", "--lf", exit_code=1)
    assert "1 passed" in project.run("pytest", "tests/test_items.py::test_create")
