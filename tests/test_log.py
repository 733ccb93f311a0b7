"""What a failed test says it has sent; and how statements are counted."""

import re

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import reports

FAILING = """
import asyncio

import pytest
from my_app.models import Item
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def test_request(client, session):
    session.add(Item(name="chair"))
    await session.commit()
    await client.get("/items")
    with pytest.raises(Exception):
        await session.execute(text("SELECT * FROM nowhere"))
    await session.rollback()
    session.add(Item(name="table"))
    await session.flush()
    assert False


@pytest.fixture
async def fails(session):
    await session.execute(text("SELECT 1"))
    raise ValueError


async def test_fixture(fails):
    pass


async def test_many(session):
    for number in range(30):
        await session.execute(text(f"SELECT {number}"))
    assert False


async def test_flush_at_the_end(session_factory):
    async with session_factory.begin() as session:
        session.add(Item(name="chair"))
    assert False


async def test_secret(engine):
    hides = create_async_engine(engine.url, hide_parameters=True)
    async with hides.connect() as connection:
        await connection.execute(text("SELECT :secret"), {"secret": "hunter2"})
    await hides.dispose()
    assert False


async def test_passes(client):
    await client.get("/items")


async def test_nothing():
    assert False


async def test_tasks(client, statements):
    with statements.at_most(3):
        await asyncio.gather(*(client.get("/items") for _ in range(4)))
"""
TITLE = "Statements of the test"


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    [
        ("asyncpg", "savepoint", "anyio"),
        ("psycopg", "reset", "pytest-asyncio"),
        ("aiosqlite", "savepoint", "pytest-asyncio"),
        ("aiosqlite", "clone", "anyio"),
        ("asyncmy", "reset", "anyio"),
        ("aiomysql", "create_drop", "pytest-asyncio"),
    ],
)
def test_a_failed_test_says_what_it_has_sent(
    generate_installed: Generate, driver: str, isolation: str, runner: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation, runner=runner)
    if BACKENDS[driver] == "mysql":
        project.variables["TEST_DATABASE_URL"] = require_server("mysql")
    (project.path / "tests/test_failing.py").write_text(FAILING)
    output = project.run("pytest", "tests/test_failing.py", exit_code=1)
    assert "1 passed, 1 error" in output
    assert "6 failed" in output
    sent = {
        title: re.split(rf"^-+ {TITLE} -+\n", report, flags=re.MULTILINE)[1].splitlines()
        for title, report in reports(output).items()
        if TITLE in report
    }
    assert sent.keys() == {
        *("test_request", "test_many", "test_flush_at_the_end", "test_secret", "test_tasks"),
        "ERROR at setup of test_fixture",
    }

    where = r"tests/test_failing\.py:\d+"
    ends = [line for line in sent["test_request"] if re.match("(COMMIT|ROLLBACK)", line)]
    lines = [line for line in sent["test_request"] if line not in ends]
    assert re.fullmatch(rf"COMMIT, test_request at {where}", ends[0])
    assert re.fullmatch(
        rf"INSERT .*'chair'.*, 1 rows, [\d.]+ ms, test_request at {where}", lines[0]
    )
    assert re.fullmatch(r"SELECT .* ms, list_items at src/my_app/items\.py:\d+", lines[1])
    assert re.fullmatch(rf"SELECT \* FROM nowhere, failed: \w+, test_request at {where}", lines[2])
    assert re.match("INSERT .*'table'", lines[3])
    assert re.match(
        "Still open: a transaction of .*test_request.*, after 'INSERT INTO items", lines[-1]
    )

    for line in sent["test_flush_at_the_end"]:
        assert re.fullmatch(rf"(INSERT|COMMIT).*, test_flush_at_the_end at {where}", line)

    (line, *_) = sent["ERROR at setup of test_fixture"]
    assert re.fullmatch(rf"SELECT 1, .* ms, fails at {where}", line)
    first, *last = [line for line in sent["test_many"] if not line.startswith("Still open")]
    assert first == "... 10 before"
    assert [line.split(",")[0] for line in last] == [f"SELECT {n}" for n in range(10, 30)]
    assert any("(hidden)" in line for line in sent["test_secret"])
    assert "hunter2" not in "".join(sent["test_secret"])
    assert re.search(r"Statements: 4 sent, 3 allowed:\nE +4 x SELECT .*list_items at", output)
