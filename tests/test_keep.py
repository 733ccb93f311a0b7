"""`--keep-database`: the first failed test is the last; its database stays until it has to go."""

import os
import re
import signal
import time

import pytest

from .combinations import BACKENDS, sample
from .conftest import Generate, require_server
from .test_lifecycle import databases

FAILING = """
import pytest
from my_app.models import Item


async def test_passes(client):
    assert (await client.post("/items", json={"name": "chair"})).status_code == 201


MARK
async def test_fails(client, session):
    assert (await client.post("/items", json={"name": "table"})).status_code == 201
    session.add(Item(name="nobody commits this"))
    await session.flush()
    await session.rollback()
    assert False


async def test_never():
    assert False
"""
READ = "import asyncio, sys; from sqlalchemy import text; from my_app.database import engine\n" + (
    "async def read():\n"
    "    async with engine.connect() as connection:\n"
    "        print(*(await connection.scalars(text('SELECT name FROM items'))).all())\n"
    "asyncio.run(read())"
)


@pytest.mark.parametrize(
    ("driver", "isolation", "mark"),
    sample(
        [
            ("asyncpg", "savepoint", ""),
            ("asyncpg", "savepoint", "@pytest.mark.real_commits"),
            ("psycopg", "reset", ""),
            ("asyncpg", "clone", ""),
            ("asyncpg", "create_drop", ""),
            ("aiosqlite", "savepoint", ""),
            ("aiosqlite", "clone", ""),
            ("asyncmy", "savepoint", "@pytest.mark.real_commits"),
            ("aiomysql", "reset", ""),
        ]
    ),
)
def test_the_database_of_a_failed_test_is_kept(
    generate_installed: Generate, driver: str, isolation: str, mark: str
) -> None:
    package = f"kept_{driver}_{isolation}"
    project = generate_installed(driver=driver, isolation=isolation, package_name=package)
    server = "sqlite" if driver == "aiosqlite" else require_server(BACKENDS[driver])
    if driver != "aiosqlite":
        project.variables["TEST_DATABASE_URL"] = server
    (project.path / "tests/test_failing.py").write_text(
        FAILING.replace("MARK", mark).replace("my_app", package)
    )
    output = project.run("pytest", "--keep-database", "tests/test_failing.py", exit_code=1)
    assert "1 failed, 1 passed" in output
    assert "!!! the database of the failed test is kept !!!" in output
    shown = re.search(r"Database of the test -+\n(.+)\n.* or at once by `kill (\d+)`", output)
    assert shown
    name = re.search(rf"test_{package}_[0-9a-f]{{8}}", shown[1])
    assert name

    try:
        project.run("pytest", "tests/test_items.py")  # which drops what dead runs have left
        assert name[0] in databases(project, driver, package)
        address = shown[1].split()[-1] if driver == "aiosqlite" else f"{server.rpartition('/')[0]}"
        found = {
            "postgresql": f"postgresql+{driver}://{address.partition('://')[2]}/{name[0]}",
            "mysql": f"mysql+{driver}://{server.partition('://')[2]}/{name[0]}",
            "sqlite": f"sqlite+{driver}:///{address}",
        }[BACKENDS[driver]]
        read = READ.replace("my_app", package)
        assert project.run("python", "-c", read, DATABASE_URL=found).split() == ["table"]
    finally:
        os.kill(int(shown[2]), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while name[0] in databases(project, driver, package):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_database_is_kept(generate_installed: Generate) -> None:
    project = generate_installed()
    output = project.run("pytest", "--keep-database", "-n", "2", exit_code=4)
    assert "ERROR: --keep-database keeps the database of one process: add -n 0." in output
