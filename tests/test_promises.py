"""A harness that cannot fail proves nothing: each promise is broken here, and that is noticed."""

import re
from itertools import product

import pytest

from .combinations import BACKENDS, Combination, sample
from .conftest import Generate

BROKEN = [
    pytest.param(
        Combination(isolation="savepoint"),
        "isolation.py",
        "                await harness_sandbox.roll_back()\n",
        "                pass\n",
        "TestCommit",
        id="nothing is rolled back after a test",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/sandbox.py",
        "            if writes:\n",
        "            if False:\n",
        "TestCommitFirst",
        id="others see what is not committed",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/connection.py",
        "        self.end_transaction(keeps=False)\n",
        "        self.end_transaction(keeps=True)\n",
        "TestRollback",
        id="a rollback undoes nothing",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/statements.py",
        'ROLLBACK: Final = "ROLLBACK TO SAVEPOINT tests_harness"',
        'ROLLBACK: Final = "ROLLBACK; BEGIN; SAVEPOINT tests_harness"',
        "TestRollback",
        id="a rollback undoes too much",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/connection.py",
        "        elif self._savepoints <= 0:",
        "        elif False:",
        "TestFailedStatement",
        id="a failed statement takes the others along",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/connection.py",
        "            if writes and (self.is_autocommit or not self.is_checked_out):\n",
        "            if False:\n",
        "TestAutocommit",
        id="autocommit does not commit",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/connection.py",
        "        self._refuse(parts, statement, parameters)\n",
        "        pass\n",
        "TestRawTransactionControl",
        id="a raw COMMIT passes",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/fixture.py",
        "harness_shared_data.levels = sandbox.connect, sandbox\n",
        "harness_shared_data.levels = None, sandbox\n",
        "TestEngine",
        id="connections are real",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/real_commits.py",
        "            renew(self._database)\n",
        "            pass\n",
        "TestRealCommits",
        id="real commits stay",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/sandbox.py",
        "                        writer.refuse_endless_wait()\n",
        "",
        "TestCommitFirst",
        id="who waits for himself is not told",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/sandbox.py",
        "        if self._running:\n",
        "        if False:\n",
        "TestCancelledRequest",
        id="a cancelled statement is not waited for",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "sandbox/statements.py",
        'CHECK: Final = "SET CONSTRAINTS ALL IMMEDIATE"',
        'CHECK: Final = "SELECT 1"',
        "TestDeferredConstraint",
        id="deferred constraints are not checked",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "watch/shared_data.py",
        "                self._change(lambda levels: levels.add_level())\n",
        "",
        "TestSharedData",
        id="data that tests share is not kept",
    ),
    pytest.param(
        Combination(isolation="reset"),
        "reset/levels.py",
        "        self._resets.append(Reset(self._database))\n",
        "        pass\n",
        "TestSharedData",
        id="data that tests share is emptied",
    ),
    pytest.param(
        Combination(isolation="reset"),
        "isolation.py",
        "            was_remade = harness_reset.return_to_level()\n",
        "            was_remade = False\n",
        "TestCommit",
        id="nothing is reset",
    ),
    pytest.param(
        Combination("aiosqlite", "reset"),  # other drivers fail in many ways, and may crash
        "watch/watch.py",
        "        loop = running_loop() if dialect.is_async else None\n",
        "        loop = None\n",
        "TestAnotherLoop",
        id="connections are used on any loop",
    ),
    pytest.param(
        Combination(isolation="reset"),
        "watch/watch.py",
        "        if leaks:\n",
        "        if False:\n",
        "TestLeftOpen",
        id="what is left open is not said",
    ),
    pytest.param(
        Combination(isolation="create_drop"),
        "isolation.py",
        "    with exit_on_failure(harness_database):\n        server.create(name)\n"
        "    create_schema(harness_database)\n    yield\n"
        "    with exit_on_failure(harness_database):\n"
        "        if not SPARED:\n            server.drop(name)\n",
        "    if name not in server.created:\n        server.create(name)\n"
        "        create_schema(harness_database)\n    yield\n",
        "TestCommit",
        id="tables are kept",
    ),
    pytest.param(
        Combination(isolation="create_drop"),
        "running/session.py",
        "populate_existing=True",
        "",
        "TestStaleObjects",
        id="queries show stale objects",
    ),
    pytest.param(
        Combination(isolation="reset"),
        "running/client.py",
        "            self._server.raise_errors()\n",
        "            pass\n",
        "TestWebsocket",
        id="errors of a websocket are only a disconnect",
    ),
    pytest.param(
        Combination(driver="aiosqlite", isolation="reset"),
        "running/client.py",
        "        if BY_SERVER in request.extensions:\n",
        "        if False:\n",
        "TestEvents",
        id="streams are read as a whole",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "running/lifespan.py",
        'state | scope.get("state", {})',
        'scope.get("state", {})',
        "TestLiveServer",
        id="the live server has no state of the lifespan",
    ),
    pytest.param(
        Combination(isolation="savepoint"),
        "running/sync_client.py",
        "        self.portal = portal\n",
        "        pass\n",
        "TestPlainFunction",
        id="plain functions call the application on another loop",
    ),
    pytest.param(
        Combination(runner="anyio", isolation="reset"),
        "running/portal.py",
        "        if running_loop() or",
        "        if",
        "TestPlainFunction",
        id="async functions are not told to await",
    ),
]


@pytest.mark.parametrize(("combination", "file", "promise", "breach", "story"), BROKEN)
def test_a_broken_harness_is_noticed(
    generate_installed: Generate,
    combination: Combination,
    file: str,
    promise: str,
    breach: str,
    story: str,
) -> None:
    project = generate_installed(**combination._asdict(), test_client=True)
    path = project.path / "tests/harness" / file
    source = path.read_text()
    assert source.count(promise) == 1
    path.write_text(source.replace(promise, breach))
    output = project.run(
        "pytest", f"tests/harness/contract/test_contract.py::{story}", "-q", exit_code=1
    )
    assert re.search(
        rf"^(FAILED|ERROR) tests/harness/contract/test_contract.py::{story}::", output, re.MULTILINE
    )


CARELESS = """
import asyncio

from sqlalchemy import text


async def read(engine):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def is_ready(engine):
    try:
        asyncio.run(read(engine))
    except Exception:
        return False
    return True
"""

IN_ANY_STRATEGY = """
import asyncio

import threading
from contextlib import suppress

import pytest
from my_app.careless import is_ready
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.testclient import TestClient
from tests.harness.contract.example_app import Note

kept = []


async def test_transaction_left_open(engine):
    kept.append(await engine.connect())
    await kept[0].execute(insert(Note).values(text="a"))


async def test_connection_of_another_test(session):
    assert (await session.execute(select(Note))).all() == []
    await kept[0].execute(insert(Note).values(text="b"))


async def test_connection_left_open(engine):
    kept.append(await engine.connect())


async def go_on(session_factory):
    async with session_factory() as session:
        await session.execute(select(Note))
        await asyncio.sleep(10)


async def test_task_left_running(session_factory):
    kept.append(asyncio.create_task(go_on(session_factory)))


async def test_task_is_cancelled():
    assert kept[-1].cancelled()


async def test_timer_left_running(session_factory):
    loop = asyncio.get_running_loop()
    loop.call_later(0.2, lambda: kept.append(loop.create_task(go_on(session_factory))))


async def test_while_the_timer_ends():
    await asyncio.sleep(0.4)


def read_later(url):
    next_test.wait()
    with suppress(Exception):
        asyncio.run(read(create_async_engine(url)))


next_test = threading.Event()


async def test_thread_left_running(engine):
    kept.append(threading.Thread(target=read_later, args=[engine.url]))
    kept[-1].start()


async def test_while_the_thread_ends():
    next_test.set()
    await asyncio.to_thread(kept[-1].join)


async def test_task_of_others_left_running():
    asyncio.create_task(asyncio.sleep(10))


async def test_another_thread(app, session):
    await session.execute(select(Note))
    await session.commit()
    TestClient(app).get("/items")


def test_run(engine):
    asyncio.run(read(engine))


async def test_pending(session, client):
    session.add(Note(text="a"))
    await client.get("/items")


async def test_error_is_caught(engine, session):
    await session.execute(select(Note))
    await session.rollback()
    assert not await asyncio.to_thread(is_ready, engine)


async def test_another_loop(engine):
    await engine.dispose()
    await asyncio.to_thread(asyncio.run, read(engine))


async def read(engine):
    async with engine.connect() as connection:
        await connection.execute(select(Note))


@pytest.fixture
def late(harness_isolation, request):
    return request.getfixturevalue("written_later")


@pytest.fixture(scope="module")
async def written_later(engine):
    async with engine.begin() as connection:
        await connection.execute(insert(Note).values(text="d"))


async def test_wide_fixture_in_a_test(late):
    pass


async def test_next_is_clean(engine, session, client):
    await kept[0].close()
    await kept[1].close()
    async with engine.connect() as one, engine.connect() as other:
        assert (await one.execute(select(Note))).all() == []
        assert (await other.execute(select(Note))).all() == []
    assert (await client.get("/items")).json() == []
"""

NOTICED = {
    "test_transaction_left_open": (
        r"LeakError: This test has left open\nE? +\* a transaction of tests/test_breaches\.py::"
        r"test_transaction_left_open \(call\), test_transaction_left_open at"
        r" tests/test_breaches\.py:\d+, after 'INSERT INTO contract_notes .*'\. Close it"
    ),
    "test_connection_of_another_test": (
        r"LeakError: This is a connection of a test that is over, left open by"
        r" tests/test_breaches\.py::test_transaction_left_open"
    ),
    "test_connection_left_open": (
        r"LeakError: This test has left open\nE? +\* a connection of tests/test_breaches\.py::"
    ),
    "test_task_left_running": (
        r"LeakError: This test has left open\nE? +\* the task go_on at tests/test_breaches\.py:"
        r"\d+\. Await it, or cancel it\."
    ),
    "test_while_the_timer_ends": (
        r"OutsideTestError: tests/test_breaches\.py::test_timer_left_running has begun, by a timer"
        r" or in a thread, what now uses the database, at go_on at tests/test_breaches\.py:"
    ),
    "test_while_the_thread_ends": (
        r"OutsideTestError: An earlier test, or a fixture of a wider scope, has begun, by a timer"
        r" or in a thread, what now uses the database, at read at tests/test_breaches\.py:"
    ),
    "test_task_of_others_left_running": (
        r"\* the task sleep \(-o asyncio_debug=true tells who has started it\)\. Await it, or"
        r" cancel it\."
    ),
    "test_pending": (
        r"CommitFirstError: Commit first: the test's session holds changes \(Note\) that the"
    ),
    "test_another_thread": (
        r"WrongLoopError: A connection of Engine\(.*\) was opened on loop \d+ by tests/test_breach"
        r"(.|\n)* and works there only\. It is used on loop \d+ by tests/test_breaches\.py::"
        r"test_another_thread \(call\), list_items at src/my_app/items\.py:\d+\. A thread has"
        r" a loop of its own, as that of Starlette's TestClient: .* fixture `client` instead,"
    ),
    "test_another_loop": (
        r"WrongLoopError: A connection of Engine\(.*\)"
        r"( was opened on loop \d+ \(closed\) by tests/test_breaches\.py::test_another_loop"
        r" \(call\), read .* It is left in a pool, where the test's loop \d+ would use it|"
        r" belongs on loop \d+, .* It is used on loop \d+ by tests/test_breaches\.py::test_another)"
    ),
    "test_run": (
        r"WrongLoopError: A connection of Engine\(.*\) (belongs|was opened) on loop \d+(.|\n)*Where"
        r" asyncio\.run\(\) is called, which makes a loop of its own, `await` in an async test\."
    ),
    "test_error_is_caught": (
        r"WrongLoopError: (.|\n)* The test did not see this: it was caught by is_ready at"
        r" src/my_app/careless\.py:\d+, or returned as the result of its task "
    ),
    "test_wide_fixture_in_a_test": (
        r"OutsideTestError: While a test runs, data that others share is not possible, by the"
        r" fixture 'written_later' for tests/test_breaches\.py::test_wide_fixture_in_a_test "
    ),
}

IN_THE_SANDBOX = """
from alembic import command
from alembic.config import Config


async def test_commit_first(session, client):
    session.add(Note(text="a"))
    await session.flush()
    await client.get("/items")


async def test_commit_first_at_the_end_of_a_block(session, session_factory):
    session.add(Note(text="a"))
    await session.flush()
    async with asyncio.timeout(1), session_factory.begin() as other:
        other.add(Note(text="b"))


async def test_wait_for_each_other(session, client):
    session.add(Note(text="a"))
    await session.flush()
    await asyncio.create_task(client.get("/items"))


async def test_raw_commit(session):
    await session.execute(text("COMMIT"))


async def test_driver_commit(engine):
    async with engine.begin() as connection:
        await connection.execute(insert(Note).values(text="e"))
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        await (driver.commit() if hasattr(driver, "commit") else driver.execute("COMMIT"))


async def test_next_is_clean_too(session):
    assert (await session.execute(select(Note))).all() == []


def migrate():
    command.upgrade(Config(toml_file="pyproject.toml"), "head")


async def test_migrations():
    await asyncio.to_thread(migrate)


async def test_isolation_level(engine):
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")
"""

NOTICED_IN_THE_SANDBOX = {
    "test_commit_first": r"CommitFirstError: Commit first: this statement waits .*: INSERT INTO",
    "test_commit_first_at_the_end_of_a_block": r"CommitFirstError: Commit first: this statement",
    "test_wait_for_each_other": r"CommitFirstError: This statement has waited 5 seconds",
    "test_raw_commit": r"TransactionControlError: A raw 'COMMIT' begins or ends a transaction",
    "test_driver_commit": r"TransactionControlError: The driver's own connection works past",
    "test_migrations": (
        r"WrongLoopError: (.|\n)*Alembic migrates on an event loop of its own\. The tables are"
        r" there already: replace what starts it in this test, or mark the test with"
    ),
    "test_isolation_level": r"TransactionControlError: The sandbox shows READ COMMITTED",
}

ON_REAL_CONNECTIONS = """
async def test_commit_first(session, client):
    await client.post("/items", json={"name": "chair"})
    session.add(Item(name="table"))
    await session.flush()
    async with asyncio.timeout(20):
        await client.post("/items", json={"name": "table"})


async def test_wait_for_each_other(session, client):
    session.add(Item(name="table"))
    await session.flush()
    await asyncio.create_task(client.post("/items", json={"name": "table"}))


class TestOfUnittest(unittest.IsolatedAsyncioTestCase):
    async def test_on_a_loop_of_its_own(self):
        from my_app.database import engine

        await read(engine)
        await engine.dispose()
"""

NOTICED_ON_REAL_CONNECTIONS = dict.fromkeys(
    ("test_commit_first", "test_wait_for_each_other"),
    r"(?i)lock(.|\n)*Commit first. Still open: a transaction of tests/test_breaches\.py::test_\w+"
    r" \(call\), test_\w+ at tests/test_breaches\.py:\d+, after 'INSERT INTO items ",
)


@pytest.mark.parametrize(
    ("driver", "isolation"),
    sample([*product(BACKENDS, ("savepoint", "reset")), ("asyncpg", "create_drop")]),
)
def test_a_breach_of_the_contract_is_noticed(
    generate_installed: Generate, driver: str, isolation: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    if isolation == "savepoint":
        more, noticed = IN_THE_SANDBOX, NOTICED | NOTICED_IN_THE_SANDBOX
    else:
        more = "\n\nimport unittest\n\nfrom my_app.models import Item\n" + ON_REAL_CONNECTIONS
        noticed = NOTICED | NOTICED_ON_REAL_CONNECTIONS
    if driver == "aiosqlite":
        noticed.pop("test_isolation_level", None)  # SQLite is serializable; nothing else to ask for
    (project.path / "src/my_app/careless.py").write_text(CARELESS)
    (project.path / "tests/test_breaches.py").write_text(IN_ANY_STRATEGY + more)
    output = project.run("pytest", "tests/test_breaches.py", exit_code=1)
    for test, message in noticed.items():
        failures = re.findall(rf"^(?:FAILED|ERROR) tests/test_breaches.py::{test} ", output, re.M)
        assert len(failures) == 1, test
        assert re.search(message, output), test
    for test in ("test_task_is_cancelled", "test_next_is_clean", "test_next_is_clean_too"):
        assert f"::{test} " not in output
    assert "never awaited" not in output
    assert "ResourceWarning" not in output

    one = "tests/test_breaches.py::test_task_of_others_left_running"
    output = project.run("pytest", one, "-o", "asyncio_debug=true", exit_code=1)
    assert "* the task sleep, started at tests/test_breaches.py:" in output
