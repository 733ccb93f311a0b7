"""What is said of a suite before it moves: planted faults are found, and nothing else is."""

import re
from pathlib import Path
from typing import Final

import pytest

from .combinations import BACKENDS
from .existing import STEP, copy_application, developers_database, render_harness
from .pythons import UV

FAULTS: Final = """
import asyncio

import pytest
from app.db import engine
from app.main import app
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

kept = []


async def test_it_leaves_rows():
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO authors (name) VALUES ('a'), ('b')"))


async def test_it_writes_twice_at_once():
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("INSERT INTO authors (name) VALUES ('c')"))
        if engine.dialect.name != "sqlite":
            await other.execute(text("INSERT INTO authors (name) VALUES ('d')"))
            await other.execute(text("SELECT 1 FROM authors FOR UPDATE SKIP LOCKED"))


async def test_it_leaves_a_transaction():
    kept.append(await engine.connect())
    await kept[0].execute(text("SELECT 1"))


@pytest.mark.asyncio(loop_scope="function")
async def test_it_has_another_loop():
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def test_it_has_a_thread():
    with TestClient(app) as client:
        client.get("/authors")


def test_it_has_a_loop_of_its_own():
    async def read():
        own = create_async_engine(engine.url, isolation_level="SERIALIZABLE")
        async with own.connect() as connection:
            await connection.execute(text("SELECT 1"))
        await own.dispose()

    asyncio.run(read())
"""
CLOSED: Final = """
from test_y import kept


async def test_it_closes():
    await kept.pop().close()
"""
TITLES: Final = (
    "### Databases",
    "### Who uses connections",
    "### Connections used on two event loops",
    "### What files leave to the next",
    "### Which isolation fits",
)


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite"])
def test_faults_of_a_suite_are_found(template: Path, tmp_path: Path, driver: str) -> None:
    folder = tmp_path / "project"
    project = copy_application("module_engine", folder)
    steps = STEP.findall(render_harness(template, folder, driver=driver))
    (step,) = (step for step in steps if step.endswith(".check"))
    variable, *command = step.split()
    environment = dict([variable.split("=")])

    with developers_database(driver, "library") as address:
        environment["DATABASE_URL"] = address
        before = project.run(*command, **environment)
        (folder / "tests/test_y.py").write_text(FAULTS)
        (folder / "tests/test_z.py").write_text(CLOSED)
        after = project.run(*command, exit_code=int(driver == "asyncpg"), **environment)
        other = {"asyncpg": "aiosqlite", "aiosqlite": "asyncpg"}[driver]
        render_harness(template, folder, overwrite=True, driver=other, metadata="app.db:Base.meta")
        wrong = project.run(*command, "--maxfail=1", "tests/test_books.py", **environment)

    _, who, loops, left, fits = sections(before)
    assert (loops, left) == ("Nothing.", "Nothing.")
    assert fits.startswith("`reset`, or `savepoint`: nothing that it refuses was seen.\n")
    assert "| `tables` (session) | tests/conftest.py:25 | loop 1 | " in who
    assert re.search(r"\| the end of `tables` \| tests/conftest.py:\d+ \| loop 1 \| .*DROP", who)
    assert "| tests |  | loop 1 | " in who

    databases, who, loops, left, fits = sections(after)
    assert databases == f"* {address}. **The application uses it when nobody tests it.**"
    assert re.search(r"\| tests \|  \| (loop 1, loop 2, loop 3|4 loops) \|", who)
    assert "tests/test_y.py::test_it_has_another_loop" in loops
    assert left.splitlines()[0].startswith(
        "* `tests/test_y.py`: a transaction is open, begun by tests/test_y.py::test_it_leaves"
    )
    assert left.splitlines()[1:] == ["* `tests/test_y.py`: 2 rows in `authors`, and 0 before"]
    assert "* an event loop of its own in a plain function: tests/test_y.py::" in fits
    another = "another engine for the same database than that of .*conftest.*: tests/test_y.py::"
    assert re.search(another, fits)
    assert "(TestClient's: take the fixture `test_client` instead): tests/test_y.py::" in fits
    for limit in (
        "the isolation level SERIALIZABLE",
        "two transactions of one task at once",
        "SKIP LOCKED",
    ):
        assert (f"* {limit}: tests/test_y.py::" in fits) == (driver == "asyncpg")

    assert "### Answers to change" in wrong
    assert f"+{other} does not fit: the application uses {BACKENDS[driver]}." in wrong
    assert "* The answer metadata=app.db:Base.meta does not fit" in wrong

    pyproject = folder / "pyproject.toml"
    harness = command[-1].removesuffix(".check")
    pyproject.write_text(f"{pyproject.read_text()}addopts = '-p {harness}'\n")
    assert "loads the harness already" in project.run(*command, exit_code=4, **environment)


SAME: Final = (
    ("postgresql+asyncpg://a@localhost/b", "postgresql://127.0.0.1:5432/b"),
    ("mysql+asyncmy://a:b@[::1]:3306/c?charset=utf8mb4", "mariadb+pymysql://localhost/c"),
    ("sqlite+aiosqlite:///dev.db", "sqlite:///{folder}/dev.db"),
)


def test_a_database_is_known_however_it_is_written(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    project = copy_application("module_engine", folder)
    render_harness(template, folder, driver="aiosqlite")
    for one, other in SAME:
        urls = f"'{one}', '{other.format(folder=folder)}'"
        code = (
            "from harness.check import place; from sqlalchemy import make_url;"
            f" print(*(place(make_url(url)) for url in ({urls})), sep='\\n')"
        )
        places = project.run(UV, "run", "python", "-c", code, PYTHONPATH="tests").splitlines()
        assert places[0] == places[1] != ""


def sections(report: str) -> list[str]:
    """Return the texts under the titles, in their order."""
    assert [title for title in report.splitlines() if title.startswith("###")] == [*TITLES]
    return [part.strip() for part in re.split("|".join(TITLES), report)[1:]]
