"""Connections outlive the pool that has closed them, and bring nothing along."""

import pytest

from .conftest import Generate

PIDS = """
import pytest
from sqlalchemy import text

pids = set()


@pytest.mark.parametrize("attempt", range(4))
async def test_a_pool_that_the_lifespan_closes(client, engine, attempt):
    for name in "ab":
        assert (await client.post("/items", json={"name": name})).status_code == 201
    assert len((await client.get("/items")).json()) == 2
    async with engine.connect() as connection:
        pids.add((await connection.execute(text("SELECT pg_backend_pid()"))).scalar())


def test_they_were_one_connection():
    assert len(pids) == 1


async def test_one_that_was_lost(app, engine):
    async with engine.connect() as connection, engine.connect() as other:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar()
        await other.execute(text(f"SELECT pg_terminate_backend({pid})"))
        await connection.invalidate()


async def test_after_that(client):
    assert (await client.get("/items")).json() == []
"""

SESSION = """
import pytest
from sqlalchemy import text

pids = []

NEW = {
    "SELECT current_setting('app.tenant', true)": None,
    "SELECT current_setting('statement_timeout')": "0",
    "SELECT current_user = session_user": True,
    "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()": 0,
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()": 0,
    "SELECT count(*) FROM pg_listening_channels()": 0,
    "SELECT count(*) FROM pg_cursors WHERE name = 'news'": 0,
    "SELECT count(*) FROM pg_prepared_statements WHERE from_sql": 0,
    "SELECT current_setting('transaction_read_only')": "off",
    "SHOW transaction_isolation": "read committed",
}
LEFT = [
    "SELECT 1",
    "SET app.tenant = 'seven'",
    "SET LOCAL app.tenant = 'seven'",
    "SELECT set_config('app.tenant', 'seven', true)",
    "SELECT FUNCTION_set_tenant('seven')",
    "SET statement_timeout = 5000",
    "SET ROLE pg_monitor",
    "CREATE TEMP TABLE left_over (id int)",
    "SELECT pg_advisory_lock(7)",
    "SELECT FUNCTION_lock()",
    "LISTEN news",
    "DECLARE news CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE news AS SELECT 1",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
]


@pytest.mark.parametrize("way", ["connection", "cursor", "driver"])
@pytest.mark.parametrize("statement", [*LEFT, "SELECT 2"])
async def test_a_session_is_new(app, engine, statement, way):
    async with engine.connect() as connection:
        for question, answer in NEW.items():
            assert (await connection.execute(text(question))).scalar() == answer, question
        pids.append((await connection.execute(text("SELECT pg_backend_pid()"))).scalar())
    statement = statement.replace("FUNCTION_", "")
    async with engine.connect() as connection:
        if way == "connection":
            await connection.execute(text(statement))
        elif way == "cursor":
            def execute(sync):
                sync.connection.cursor().execute(statement)

            await connection.run_sync(execute)
        else:
            raw = await connection.get_raw_connection()
            await raw.driver_connection.execute(statement)
        await connection.commit()


@pytest.mark.parametrize("attempt", range(2))
async def test_a_sequence_was_not_used(app, engine, attempt):
    async with engine.connect() as connection:
        with pytest.raises(Exception, match="not yet defined"):
            await connection.execute(text("SELECT lastval()"))
        await connection.rollback()
        await connection.execute(text("SELECT nextval(pg_get_serial_sequence('items', 'id'))"))


def test_the_clean_ones_were_kept():
    assert (len({*pids}) < len(pids)) is IS_KEPT
"""

FUNCTIONS = """
    op.execute(
        "CREATE FUNCTION set_tenant(id text) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.tenant', id, true); END $$"
    )
    op.execute(
        "CREATE FUNCTION lock() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_lock(7); END $$"
    )
"""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_connections_are_kept(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    (project.path / "tests/test_keeper.py").write_text(PIDS)
    project.run("pytest", "tests/test_keeper.py")


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_nothing_survives(generate_installed: Generate, driver: str, *, is_kept: bool) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    migration = project.path / "migrations/versions/0001_items.py"
    upgrade = "def upgrade() -> None:"
    # A function's setting cannot be undone, so where there is such a function nothing is kept.
    functions = FUNCTIONS.replace("set_config", "concat") if is_kept else FUNCTIONS
    migration.write_text(migration.read_text().replace(upgrade, f"{upgrade}{functions}"))
    (project.path / "tests/test_keeper.py").write_text(f"IS_KEPT = {is_kept}\n{SESSION}")
    project.run("pytest", "tests/test_keeper.py")
