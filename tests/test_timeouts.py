"""What is said of a test that waits in a statement until it is interrupted; the next is clean."""

import os
import re

import pytest

from .combinations import BACKENDS, sample
from .conftest import Generate, require_server
from .generated import reports
from .pythons import UV
from .test_crashes import ENDLESS
from .test_lifecycle import RUN_PYTEST, databases

WAITING = """
import asyncio
import os
import signal
import threading

import pytest
from {package}.models import Item
from sqlalchemy import text


@pytest.fixture(autouse=True)
def press_ctrl_c(app):
    if "CTRL_C" in os.environ:
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()


async def hold(session):
    session.add(Item(name="chair"))
    await session.flush()
    await asyncio.Event().wait()


async def wait_for_transaction(session, client):
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(session))
        await asyncio.sleep(0.3)
        await client.post("/items", json={{"name": "chair"}})


@pytest.mark.real_commits
async def test_lock(session, client):
    await wait_for_transaction(session, client)


async def test_turn(session, client):
    await wait_for_transaction(session, client)


async def test_slow(session):
    await session.execute(text("{endless}"))


async def test_next(client, session):
    assert (await client.get("/items")).json() == []
    session.add(Item(name="chair"))
    await session.commit()
"""
LIMIT = "--timeout=1.5", "-otimeout_func_only=true"
INSERT = r"Running for .* s: INSERT INTO items .*'chair'.*, create_item at src/\w+/items\.py"
HELD = r"Still open: a transaction of .*, hold at .*, after 'INSERT INTO items"
TURN = (
    r"(INSERT INTO items .*|BEGIN IMMEDIATE.) waits for a lock: the sandbox, for one transaction"
    r" at a time, held after .INSERT INTO items "
)
LOCKS = {
    "postgresql": r"'INSERT INTO items .*' waits for a lock: ShareLock \(transactionid\),"
    r" held after 'INSERT INTO items ",
    "mysql": r'"INSERT INTO items .*" waits for a lock: index uq_items_name of table'
    r" `test_\w+`\.`items`",
}


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    sample(
        [
            ("asyncpg", "savepoint", "pytest-asyncio"),
            ("psycopg", "reset", "anyio"),
            ("psycopg", "clone", "pytest-asyncio"),
            ("aiosqlite", "savepoint", "anyio"),
            ("aiosqlite", "create_drop", "pytest-asyncio"),
            ("aiomysql", "savepoint", "anyio"),
            ("asyncmy", "reset", "pytest-asyncio"),
        ]
    ),
)
def test_what_runs_when_a_test_is_interrupted(
    generate_installed: Generate, driver: str, isolation: str, runner: str
) -> None:
    package = f"waits_{driver}"
    project = generate_installed(
        driver=driver, isolation=isolation, runner=runner, package_name=package
    )
    backend = BACKENDS[driver]
    if backend != "sqlite":
        project.variables["TEST_DATABASE_URL"] = require_server(backend)
    install = UV, "pip", "install", "--quiet", "--no-deps", "--target", "plugins"
    project.run(*install, "pytest-timeout")
    project.variables["PYTHONPATH"] = f"src{os.pathsep}plugins"
    waiting = WAITING.format(package=package, endless=ENDLESS[backend])
    (project.path / "tests/test_waiting.py").write_text(waiting)
    waits = [INSERT, HELD, *([LOCKS[backend]] if backend in LOCKS else [])]
    command = "python", "-c", RUN_PYTEST, "tests/test_waiting.py"

    output = project.run(*command, exit_code=pytest.ExitCode.INTERRUPTED, CTRL_C="1")
    assert "KeyboardInterrupt" in output
    check(output, waits)
    output = project.run(*command, *LIMIT, "--timeout-method=thread", exit_code=1)
    check(output, waits)

    output = project.run(*command, *LIMIT, "--timeout-method=signal", exit_code=1)
    assert "3 failed, 1 passed" in output
    told = reports(output)
    check(told["test_lock"], waits)
    check(told["test_turn"], [INSERT, HELD, TURN] if isolation == "savepoint" else waits)
    check(told["test_slow"], [rf"Running for .* s: {re.escape(ENDLESS[backend])}.* test_slow"])
    names = databases(project, driver, package)
    assert names or isolation == "create_drop"
    assert all("_prepared_" in name for name in names), names


def check(output: str, patterns: list[str]) -> None:
    """Check that `output` has lines that match `patterns`."""
    for pattern in patterns:
        assert re.search(pattern, output), f"no {pattern} in\n{output}"


FROZEN = """
import asyncio

from freezegun import freeze_time


@freeze_time("2030-01-01")
async def test_sleeps(client):
    await asyncio.sleep(0.01)
    assert (await client.get("/items")).json() == []
"""


def test_the_clock_of_event_loops_goes_on(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="savepoint")
    project.run(UV, "pip", "install", "--quiet", "--target", "plugins", "freezegun")
    (project.path / "tests/test_frozen.py").write_text(FROZEN)
    project.variables["PYTHONPATH"] = f"src{os.pathsep}plugins"
    assert "1 passed" in project.run("pytest", "tests/test_frozen.py")
