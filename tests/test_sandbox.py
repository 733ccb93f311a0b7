"""What a sandbox shows of a database beyond its contract, and what it refuses to show wrongly."""

import pytest

from .combinations import BACKENDS
from .conftest import Generate

IN_ANY_SANDBOX = """
import asyncio
import re

import pytest
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from tests.harness.errors import CommitFirstError, TransactionControlError
from tests.harness.notes import Note


async def count(engine):
    async with engine.connect() as connection:
        return len((await connection.execute(select(Note.id))).all())


@pytest.mark.parametrize("verb", ["RELEASE", "ROLLBACK TO"])
async def test_a_savepoint_that_does_not_exist(engine, verb):
    async with engine.connect() as connection:
        await connection.execute(select(Note))
        with pytest.raises(DBAPIError, match="(?i)savepoint"):
            await connection.execute(text(f"{verb} SAVEPOINT nowhere"))


async def test_an_engine_with_the_same_arguments(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)
    async with other.begin() as connection:
        await connection.execute(insert(Note).values(text="a"))
    assert await count(engine) == 1
    await other.dispose()


async def test_an_engine_with_other_arguments(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS | OTHER_ARGS)
    assert await count(engine) == 0
    with pytest.raises(TransactionControlError, match=f"connects with another {[*OTHER_ARGS][0]}"):
        await count(other)


async def test_an_engine_with_other_listeners(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)

    @event.listens_for(other.sync_engine, "connect")
    def configure(connection, _):
        connection.cursor().execute(SETTING)

    assert await count(engine) == 0
    with pytest.raises(TransactionControlError, match="A listener for 'connect' says .* to this"):
        await count(other)


async def test_a_column_that_sounds_like_a_write(engine):
    rows = "WITH r AS (SELECT id AS updated_at FROM contract_notes) SELECT updated_at FROM r"
    async with engine.connect() as reader, engine.begin() as writer:
        await reader.execute(text(rows))
        await writer.execute(insert(Note).values(text="a"))


async def test_a_cancelled_statement_does_not_go_on(engine):
    async with engine.connect() as connection:
        await connection.execute(insert(Note).values(text="a"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.execute(text(ENDLESS))
    async with asyncio.timeout(5):
        assert await count(engine) == 0


@pytest.mark.parametrize("attempt", [1, 2])
async def test_the_driver_s_own_connection_writes(engine, attempt):
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        await write(driver)
        with pytest.raises(CommitFirstError):
            await count(engine)
        await connection.rollback()
    assert await count(engine) == 0
    async with engine.begin() as connection:
        await write((await connection.get_raw_connection()).driver_connection)
    assert await count(engine) == 1


async def test_the_driver_s_own_connection_while_another_writes(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(insert(Note).values(text="a"))
        with pytest.raises(CommitFirstError, match="another transaction writes.* INSERT INTO"):
            (await other.get_raw_connection()).driver_connection
"""

IN_A_SANDBOX_OF = {
    "postgresql": """
CONNECT_ARGS = {}
ENDLESS = "SELECT pg_sleep(30)"
SETTING = "SET search_path = pg_catalog"
SHOW = text("SELECT current_setting('app.tenant', true)")


async def write(driver):
    await driver.execute("INSERT INTO contract_notes (text, likes) VALUES ('raw', 0)")


@pytest.mark.parametrize("statement", [
    "SET LOCAL app.tenant = '7'", "SELECT set_config('app.tenant', '7', true)"
])
async def test_a_setting_ends_with_its_transaction(engine, statement):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT set_config('app.tenant', '1', false)"))
        await connection.commit()
        for end in (connection.commit, connection.rollback):
            await connection.execute(text(statement))
            await connection.execute(text("SET LOCAL ROLE pg_read_all_data"))
            await connection.execute(text(statement.replace("7", "8")))
            assert (await connection.execute(SHOW)).scalar() == "8"
            await end()
            assert (await connection.execute(SHOW)).scalar() == "1"
            assert (await connection.execute(text("SHOW role"))).scalar() == "none"
            await connection.rollback()


async def test_the_name_of_a_setting_may_be_a_parameter(engine):
    async with engine.connect() as connection:
        await connection.execute(select(func.set_config("app.tenant", "7", True)))
        assert (await connection.execute(SHOW)).scalar() == "7"
        await connection.commit()
        assert (await connection.execute(SHOW)).scalar() == ""


async def test_a_setting_of_a_nested_transaction(engine):
    async with engine.begin() as connection:
        await connection.execute(insert(Note).values(text="a"))
        nested = await connection.begin_nested()
        await connection.execute(text("SET LOCAL search_path = pg_catalog"))
        await nested.rollback()
        assert "public" in (await connection.execute(text("SHOW search_path"))).scalar()
        async with connection.begin_nested():
            await connection.execute(text("SET LOCAL search_path = public, pg_catalog"))
    async with engine.connect() as connection:
        assert "user" in (await connection.execute(text("SHOW search_path"))).scalar()


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_lock_of_the_session_ends_with_the_test(engine, attempt):
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    async with engine.connect() as connection:
        assert (await connection.execute(text(held))).scalar() == 0
        await connection.execute(text("SELECT pg_advisory_lock(4711)"))


async def test_a_setting_holds_the_sandbox(engine):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT set_config('app.tenant', '7', true)"))
        with pytest.raises(CommitFirstError):
            await count(engine)


async def test_an_error_is_not_a_use_of_the_driver(engine):
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT 1 / 0"))
        assert await count(engine) == 0
        await connection.rollback()


@pytest.mark.parametrize("statement", [
    "CREATE TEMPORARY TABLE t (id int) ON COMMIT DROP",
    "SET TRANSACTION READ ONLY",
])
async def test_what_only_real_transactions_do(engine, statement):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match=re.escape(statement)):
            await connection.execute(text(statement))


async def test_what_does_not_wait_for_locks(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(insert(Note).values(text="a"))
        for options in ({"skip_locked": True}, {"nowait": True}):
            with pytest.raises(TransactionControlError, match="does not wait for locks"):
                await other.execute(select(Note).with_for_update(**options))
        await one.commit()
        await other.execute(select(Note).with_for_update(skip_locked=True))


async def test_a_read_only_transaction(engine):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="cannot show a read-only transaction"):
            await connection.execution_options(postgresql_readonly=True)
""",
    "mysql": """
CONNECT_ARGS = {}
OTHER_ARGS = {"connect_timeout": 7}
ENDLESS = "SELECT SLEEP(30)"
SETTING = "SET SESSION sql_mode = 'ANSI'"


async def write(driver):
    async with driver.cursor() as cursor:
        await cursor.execute("INSERT INTO contract_notes (text, likes) VALUES ('raw', 0)")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_another_isolation_level(engine, level):
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="shows READ COMMITTED, not"):
            await connection.execution_options(isolation_level=level)


async def test_a_procedure_that_commits(engine):
    async with engine.begin() as connection:
        await connection.execute(text("CALL charge()"))


async def test_nothing_is_left_of_it(engine):
    assert await count(engine) == 0


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_variable_ends_with_the_test(engine, attempt):
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT @x"))).scalar() is None
        await connection.execute(text("SELECT @x := 7"))


async def test_autocommit_among_other_settings(engine):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="commits by itself"):
            await connection.execute(text("SET foreign_key_checks = 0, autocommit = 1"))
""",
    "sqlite": """
from tests.harness.schema import test_tables
from sqlalchemy import Column, ForeignKey, Integer, Table
from sqlalchemy.exc import IntegrityError

CONNECT_ARGS = {"timeout": 5}
OTHER_ARGS = {"cached_statements": 7}
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000000)"
    " SELECT max(i) FROM n"
)
SETTING = "PRAGMA recursive_triggers = ON"
replies = Table(
    "replies",
    test_tables,
    Column("id", Integer, primary_key=True),
    Column("note_id", ForeignKey("contract_notes.id", deferrable=True, initially="DEFERRED")),
)


async def write(driver):
    await driver.execute("INSERT INTO contract_notes (text, likes) VALUES ('raw', 0)")


async def test_a_deferred_foreign_key(engine):
    async with engine.connect() as connection:
        await connection.execute(insert(replies).values(note_id=1))
        await connection.execute(insert(Note).values(id=1, text="a"))
        await connection.commit()
        await connection.execute(insert(replies).values(note_id=2))
        with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
            await connection.commit()
        await connection.rollback()
        assert len((await connection.execute(select(replies))).all()) == 1
""",
}

PROCEDURE = (
    "CREATE PROCEDURE charge()"
    " BEGIN INSERT INTO contract_notes (text, likes) VALUES ('charged', 0); COMMIT; END"
)

OTHER_ARGS = {
    "asyncpg": 'OTHER_ARGS = {"server_settings": {"search_path": "pg_catalog"}}',
    "psycopg": 'OTHER_ARGS = {"application_name": "other"}',
}


@pytest.mark.parametrize("driver", BACKENDS)
def test_sandbox(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    parts = IN_ANY_SANDBOX, IN_A_SANDBOX_OF[BACKENDS[driver]], OTHER_ARGS.get(driver, "")
    (project.path / "tests/test_sandbox.py").write_text("\n\n".join(parts))
    if BACKENDS[driver] != "mysql":
        project.run("pytest", "tests/test_sandbox.py")
        return
    migration = project.path / "migrations/versions/0001_items.py"
    upgrade = f"def upgrade() -> None:\n    op.execute({PROCEDURE!r})"
    migration.write_text(migration.read_text().replace("def upgrade() -> None:", upgrade))
    output = project.run("pytest", "tests/test_sandbox.py", exit_code=1)
    assert "1 error" in output
    assert "failed" not in output
    assert "ERROR tests/test_sandbox.py::test_a_procedure_that_commits" in output
    assert "The sandbox's transaction is gone. Did this test commit through the driver" in output
