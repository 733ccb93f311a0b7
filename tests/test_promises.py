"""A harness that cannot fail proves nothing: each promise is broken here, and that is noticed."""

import re

import pytest

from .combinations import BACKENDS
from .conftest import Generate

BROKEN = [
    pytest.param(
        "savepoint",
        "isolation.py",
        "                await sandbox.roll_back()\n",
        "                pass\n",
        "TestCommit",
        id="nothing is rolled back after a test",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "            if writes:\n",
        "            if False:\n",
        "TestCommitFirst",
        id="others see what is not committed",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "self._end(sql.ROLLBACK)",
        "self._end(sql.COMMIT)",
        "TestRollback",
        id="a rollback undoes nothing",
    ),
    pytest.param(
        "savepoint",
        "dialect.py",
        'ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"',
        'ROLLBACK: Final = "ROLLBACK; BEGIN; SAVEPOINT sandbox"',
        "TestRollback",
        id="a rollback undoes too much",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "        elif sql.aborts_transaction(error)",
        "        elif False and sql.aborts_transaction(error)",
        "TestFailedStatement",
        id="a failed statement takes the others along",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "            if self.is_autocommit and not is_read:\n",
        "            if False:\n",
        "TestAutocommit",
        id="autocommit does not commit",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "        refuse_transaction_control(text)\n",
        "",
        "TestRawTransactionControl",
        id="a raw COMMIT passes",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "        return Sandbox.current.connect(dialect, args, options)\n",
        "        return None\n",
        "TestEngine",
        id="connections are real",
    ),
    pytest.param(
        "savepoint",
        "isolation.py",
        "            await engine.dispose()\n            drop_schema(database)\n",
        "            await engine.dispose()\n            return\n",
        "TestRealCommits",
        id="real commits stay",
    ),
    pytest.param(
        "create_drop",
        "isolation.py",
        "    create_schema(database)\n    yield\n    drop_schema(database)\n",
        "    if not hasattr(create_schema, 'done'):\n        create_schema.done = True\n"
        "        create_schema(database)\n    yield\n",
        "TestCommit",
        id="tables are kept",
    ),
    pytest.param(
        "create_drop",
        "fixtures.py",
        '"populate_existing": True',
        "",
        "TestStaleObjects",
        id="queries show stale objects",
    ),
]


@pytest.mark.parametrize(("isolation", "file", "promise", "breach", "story"), BROKEN)
def test_a_broken_harness_is_noticed(
    generate_installed: Generate, isolation: str, file: str, promise: str, breach: str, story: str
) -> None:
    project = generate_installed(isolation=isolation)
    path = project.path / "tests/harness" / file
    source = path.read_text()
    assert source.count(promise) == 1
    path.write_text(source.replace(promise, breach))
    output = project.run("pytest", f"tests/test_contract.py::{story}", "-q", exit_code=1)
    assert re.search(rf"^(FAILED|ERROR) tests/test_contract.py::{story}::", output, re.MULTILINE)


BREACHES = """
import asyncio

import pytest
from sqlalchemy import insert, text
from starlette.testclient import TestClient
from tests.harness.notes import Note

kept = []


async def test_commit_first(session, client):
    session.add(Note(text="a"))
    await session.flush()
    await client.get("/items")


async def test_wait_for_each_other(session, client):
    session.add(Note(text="a"))
    await session.flush()
    await asyncio.create_task(client.get("/items"))


async def test_transaction_left_open(engine):
    kept.append(await engine.connect())
    await kept[0].execute(insert(Note).values(text="a"))


async def test_connection_of_another_test(session):
    assert (await session.execute(text("SELECT * FROM contract_notes"))).all() == []
    await kept[0].execute(insert(Note).values(text="b"))


async def test_task_left_running(session_factory):
    async def go_on():
        async with session_factory() as session:
            await session.execute(text("SELECT 1"))
            await asyncio.sleep(0.05)
            await session.execute(insert(Note).values(text="c"))

    kept.append(asyncio.create_task(go_on()))
    await asyncio.sleep(0.02)


async def test_meanwhile():
    with pytest.raises(Exception, match="a test that is over"):
        await kept[-1]


async def test_raw_commit(session):
    await session.execute(text("COMMIT"))


async def test_another_loop(app):
    TestClient(app).get("/items")


async def test_isolation_level(engine):
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")


@pytest.fixture(scope="module")
async def written_once(engine):
    async with engine.begin() as connection:
        await connection.execute(insert(Note).values(text="d"))


async def test_wide_fixture(written_once):
    pass


async def test_next_is_clean(session):
    await kept[0].close()
    assert (await session.execute(text("SELECT * FROM contract_notes"))).all() == []
"""

NOTICED = {
    "test_commit_first": "CommitFirstError: Commit first: ",
    "test_wait_for_each_other": "CommitFirstError: This statement has waited 5 seconds",
    "test_transaction_left_open": "LeakError: This test has left a transaction open; ",
    "test_connection_of_another_test": "LeakError: This connection was taken from the pool in",
    "test_raw_commit": "TransactionControlError: A raw 'COMMIT' ends a transaction",
    "test_another_loop": "WrongLoopError: The database is used on another event loop",
    "test_wide_fixture": "OutsideTestError: The database is used outside of a test",
    "test_isolation_level": "TransactionControlError: The sandbox shows READ COMMITTED",
}


@pytest.mark.parametrize("driver", BACKENDS)
def test_a_breach_of_the_contract_is_noticed(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    (project.path / "tests/test_breaches.py").write_text(BREACHES)
    ignored = "ignore::DeprecationWarning"  # of Starlette's TestClient
    output = project.run("pytest", "-W", ignored, "tests/test_breaches.py", exit_code=1)
    for test, message in NOTICED.items():
        if driver == "aiosqlite" and test == "test_isolation_level":
            continue  # SQLite is serializable: there is nothing else to ask for
        assert re.search(rf"^(FAILED|ERROR) tests/test_breaches.py::{test} ", output, re.MULTILINE)
        assert f"tests.harness.errors.{message}" in output
    for test in ("test_meanwhile", "test_next_is_clean"):
        assert f"::{test} " not in output


WAITING = """
import asyncio

import pytest
from sqlalchemy.exc import DBAPIError


async def test_lock_of_its_own(session, client):
    await client.post("/items", json={"name": "chair"})
    session.add(Item(name="table"))
    await session.flush()
    with pytest.raises(DBAPIError, match="(?i)lock"):
        async with asyncio.timeout(20):
            await client.post("/items", json={"name": "table"})


async def test_next_is_clean(session, client):
    assert (await client.get("/items")).json() == []
"""


@pytest.mark.parametrize("driver", BACKENDS)
def test_real_transactions_do_not_hang(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="create_drop")
    (project.path / "tests/test_waiting.py").write_text(
        "from my_app.models import Item\n" + WAITING
    )
    output = project.run("pytest", "tests/test_waiting.py")
    assert "ResourceWarning" not in output
