"""The fixtures treat the application as a server does."""

import pytest

from .combinations import RUNNERS
from .conftest import Generate

LIFESPAN = """
import anyio
import pytest
from fastapi import FastAPI
from my_app.database import get_session
from tests.harness import fixtures


@pytest.fixture
def lifespan_fails():
    return False


@pytest.fixture(autouse=True)
def other_app(monkeypatch, lifespan_fails):
    async def lifespan(_):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            if lifespan_fails:
                raise LookupError("not today")
            yield
            group.cancel_scope.cancel()

    app = FastAPI(lifespan=lifespan)
    app.get("/")(lambda: "here")
    monkeypatch.setattr(fixtures, "get_app", lambda: app)


async def test_a_task_group_lives_as_long_as_the_application(client):
    assert (await client.get("/")).json() == "here"


@pytest.mark.parametrize("lifespan_fails", [True])
async def test_an_application_that_cannot_start(request, app):
    pass
"""

OVERRIDES = """
import pytest
from my_app.database import get_session


@pytest.mark.parametrize("attempt", [1, 2])
async def test_overrides_end_with_the_test(app, attempt):
    assert app.dependency_overrides == {}
    app.dependency_overrides[get_session] = lambda: None
"""


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_lifespan_runs_in_one_task(generate_installed: Generate, runner: str) -> None:
    project = generate_installed(driver="aiosqlite", runner=runner)
    (project.path / "tests/test_lifespan.py").write_text(LIFESPAN)
    output = project.run("pytest", "tests/test_lifespan.py", exit_code=1)
    assert "1 passed, 1 error" in output
    assert "LookupError: not today" in output


def test_overrides_of_dependencies_end_with_the_test(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    (project.path / "tests/test_overrides.py").write_text(OVERRIDES)
    project.run("pytest", "tests/test_overrides.py")


def test_a_migration_that_fails_ends_the_run(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    migration = project.path / "migrations/versions/0001_items.py"
    broken = 'def upgrade() -> None:\n    op.execute("selekt")'
    migration.write_text(migration.read_text().replace("def upgrade() -> None:", broken))
    output = project.run("pytest", exit_code=pytest.ExitCode.USAGE_ERROR)
    assert "The migrations fail, at" in output
    assert "0001_items.py:" in output
    assert len(output.splitlines()) < 20
