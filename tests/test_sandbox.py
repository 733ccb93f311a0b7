"""What a sandbox shows of a database beyond its contract, and what it refuses to show wrongly."""

import pytest

from .combinations import BACKENDS
from .conftest import Generate
from .pythons import NEWEST, OLDEST

IN_ANY_SANDBOX = """
import asyncio
import re

import pytest
from sqlalchemy import MetaData, event, func, insert, inspect, select, text
from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from tests.harness.sandbox import sandbox
from tests.harness.errors import CommitFirstError, TransactionControlError
from tests.harness.contract.example_app import SLOW, Note
from tests.harness.watch.guard import shorten
from tests.harness.watch.runner import async_fixture


async def count(engine):
    async with engine.connect() as connection:
        return len((await connection.execute(select(Note.id))).all())


@pytest.fixture
async def as_application(harness_sandbox, monkeypatch):
    '''Let the sandbox connect as an engine does, as if it were the application's.'''

    async def as_application(engine):
        await harness_sandbox.close()
        monkeypatch.setattr(sandbox, "get_engine", lambda: engine)
        return engine

    yield as_application
    await harness_sandbox.roll_back()
    await harness_sandbox.close()


@pytest.mark.parametrize("verb", ["RELEASE", "ROLLBACK TO"])
async def test_a_savepoint_that_does_not_exist(engine, verb):
    async with engine.connect() as connection:
        await connection.execute(select(Note))
        with pytest.raises(TransactionControlError, match="needs a savepoint"):
            await connection.execute(text(f"{verb} SAVEPOINT nowhere"))


async def test_an_engine_is_disposed_of_while_another_works(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)
    assert await count(other) == 0
    async with engine.connect() as connection:
        slow = asyncio.create_task(connection.execute(text(SLOW)))
        await asyncio.sleep(0)
        await other.dispose()
        await slow


async def test_tasks_that_write_as_their_blocks_end(engine, session):
    session.add(Note(text="arranged"))
    await session.commit()
    factory = async_sessionmaker(engine)

    async def write(text):
        async with factory.begin() as writing:
            writing.add(Note(text=text))

    await asyncio.gather(*map(write, "abc"))
    assert await count(engine) == 4


async def test_an_engine_with_the_same_arguments(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)
    assert await count(engine) == 0
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
    with pytest.raises(TransactionControlError, match="listener for 'connect' executes .* on this"):
        await count(other)


async def test_an_engine_connects_while_a_transaction_has_failed(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)  # which asks for the version
    async with engine.connect() as connection:
        await connection.execute(insert(Note).values(text="a"))
        nested = await connection.begin_nested()
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT * FROM nowhere"))
        counting = asyncio.create_task(count(other))
        await asyncio.sleep(0.1)
        await nested.rollback()
        await connection.commit()
        assert await counting == 1
    await other.dispose()


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


async def test_the_driver_s_own_connection(engine):
    async with engine.connect() as connection:
        await connection.execute(insert(Note).values(text="a"))
        proxy = await connection.get_raw_connection()
        for ask in (
            lambda: proxy.driver_connection,
            lambda: proxy.dbapi_connection.driver_connection,
            lambda: proxy.dbapi_connection.run_async(lambda driver: driver.close()),
        ):
            with pytest.raises(TransactionControlError, match="works past the sandbox"):
                ask()
            try:
                raise LookupError
            except LookupError:
                with pytest.raises(TransactionControlError, match="works past the sandbox"):
                    ask()


async def test_listeners_meet_what_they_know(engine):
    other, met = create_async_engine(engine.url, connect_args=CONNECT_ARGS), []
    await engine.dispose()
    other.sync_engine.dispatch._update(engine.sync_engine.dispatch)
    other.sync_engine.pool.dispatch._update(engine.sync_engine.pool.dispatch)

    @event.listens_for(other.sync_engine, "connect")
    @event.listens_for(other.sync_engine, "checkout")
    @event.listens_for(other.sync_engine, "checkin")
    def configure(connection, *_):
        assert isinstance(connection, AsyncAdapt_dbapi_connection)
        assert isinstance(connection, type(connection).__mro__[0])
        connection.execute("SELECT 1")
        cursor = connection.cursor()
        cursor.execute("SELECT 1 UNION SELECT 2")
        with cursor:
            met.extend(cursor)

    async with other.begin() as connection:
        await connection.execute(insert(Note).values(text="a"))
    assert await count(other) == 1
    assert len(met) >= 8
    await other.dispose()


async def test_a_listener_writes_when_a_connection_is_returned(engine):
    other = create_async_engine(engine.url, connect_args=CONNECT_ARGS)

    @event.listens_for(other.sync_engine, "checkin")
    def write(connection, _):
        if connection:
            connection.cursor().execute("INSERT INTO contract_notes (text, likes) VALUES ('in', 0)")

    assert await count(engine) == 0
    async with other.connect():
        pass
    assert await count(engine) == 1
    await other.dispose()


async def test_a_child_task_that_has_flushed_is_not_the_one_that_waits(client, session_factory):
    async def write(text):
        async with session_factory() as session:
            session.add(Note(text=text))
            await asyncio.create_task(session.flush())
            await asyncio.shield(session.execute(select(Note)))
            async with asyncio.TaskGroup() as group:
                group.create_task(session.execute(select(Note)))
            await asyncio.sleep(0.01)
            await asyncio.wait_for(session.commit(), 5)

    await asyncio.gather(*(write(str(n)) for n in range(5)))


async def test_a_worker_that_polls(engine, client):
    skip = SKIP_LOCKED

    async def work():
        while True:
            async with engine.begin() as connection:
                await connection.execute(skip)
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.002)

    worker = asyncio.create_task(work())
    for number in range(10):
        response = await client.post("/items", json={"name": str(number)})
        assert response.status_code == 201
        async with engine.begin() as connection:
            await connection.execute(insert(Note).values(text=str(number)))
            await asyncio.sleep(0.003)
    assert not worker.done()
    worker.cancel()
    await asyncio.wait([worker])


async def test_a_statement_does_not_wait_for_another_without_a_limit(engine):
    async with engine.connect() as one, engine.connect() as other:
        endless = asyncio.create_task(one.execute(text(ENDLESS)))
        await asyncio.sleep(0.1)
        with pytest.raises(CommitFirstError, match="has waited 5 seconds"):
            await other.execute(select(Note))
        endless.cancel()
        await asyncio.wait([endless])


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="new in Python 3.12")
async def test_eager_tasks(client, session):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        await asyncio.gather(*(client.post("/items", json={"name": str(n)}) for n in range(5)))
        session.add(Note(text="a"))
        await session.flush()
        with pytest.raises(CommitFirstError):
            await client.post("/items", json={"name": "5"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.execute(text(ENDLESS))
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize("delay", [*range(8)])
async def test_a_task_is_cancelled_while_it_connects(engine, harness_sandbox, delay):
    await engine.dispose()
    await harness_sandbox.close()

    async def connect():
        async with engine.connect() as connection:
            await connection.execute(select(Note))

    for _ in range(3):
        task = asyncio.create_task(connect())
        for _ in range(delay * 3):
            await asyncio.sleep(0.0003)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(2):
            assert await count(engine) == 0
"""

ON_A_SERVER = """
async def test_two_statements_at_once_of_one_session(engine):
    async with engine.connect():
        pass  # the pool has a connection, which it tests by a ping
    async with AsyncSession(engine) as session:
        shown = await asyncio.gather(
            session.scalar(select(1)), session.scalar(select(2)), return_exceptions=True
        )
    assert [type(each) for each in shown] == [int, InvalidRequestError]


async def test_nowait_while_another_transaction_writes(engine):
    async def claim():
        async with engine.begin() as connection:
            await connection.execute(select(Note).with_for_update(nowait=True))
            await asyncio.sleep(0.05)

    await claim()
    with pytest.raises(TransactionControlError, match="NOWAIT may fail or not"):
        await asyncio.gather(claim(), claim())


async def test_two_phases(engine):
    async with AsyncSession(engine, twophase=True) as session:
        session.add(Note(text="a"))
        with pytest.raises(TransactionControlError, match="two phases|not possible in"):
            await session.commit()
"""

IN_A_SANDBOX_OF = {
    "postgresql": """
CONNECT_ARGS = {}
ENDLESS = "SELECT pg_sleep(30)"
SETTING = "SET search_path = pg_catalog"
SHOW = text("SELECT current_setting('app.tenant', true)")
SHOW_USER = text("SELECT current_setting('app.user', true)")
SKIP_LOCKED = select(Note).with_for_update(skip_locked=True)


IN_A_TRANSACTION = [
    "SET LOCAL app.tenant = '7'",
    'SET LOCAL "app.tenant" TO 7',
    "SELECT set_config('app.tenant', '7', true)",
    "SELECT set_config('app.user', 'bob', true), set_config('app.tenant', '7', true)",
    "SELECT set_tenant('7')",
    "DO $$ BEGIN PERFORM set_config('app.tenant', '7', true); END $$",
]


@pytest.mark.parametrize("statement", IN_A_TRANSACTION)
async def test_a_setting_ends_with_its_transaction(engine, statement):
    async with engine.connect() as connection:
        for end in (connection.commit, connection.rollback):
            await connection.execute(text(statement))
            await connection.execute(text("SET LOCAL ROLE pg_read_all_data"))
            await connection.execute(text(statement.replace("7", "8")))
            assert (await connection.execute(SHOW)).scalar() == "8"
            await end()
            assert (await connection.execute(SHOW)).scalar() in ("", None)
            assert not (await connection.execute(SHOW_USER)).scalar()
            assert (await connection.execute(text("SHOW role"))).scalar() == "none"
            await connection.rollback()


@pytest.mark.parametrize(("statement", "name"), [
    ("SET LOCAL TIME ZONE 'Asia/Tokyo'", "timezone"),
    ("SET LOCAL SCHEMA 'pg_catalog'", "search_path"),
    ("SET LOCAL SESSION AUTHORIZATION other_user", "session_authorization"),
    ("SET LOCAL NAMES 'LATIN1'", "client_encoding"),
])
async def test_every_spelling_of_a_setting(engine, statement, name):
    async with engine.connect() as connection:
        await connection.execute(text("DO $$ BEGIN CREATE ROLE other_user;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"))
        await connection.commit()
        before = (await connection.execute(text(f"SHOW {name}"))).scalar()
        await connection.execute(text(statement))
        assert (await connection.execute(text(f"SHOW {name}"))).scalar() != before
        await connection.commit()
        assert (await connection.execute(text(f"SHOW {name}"))).scalar() == before


async def test_what_listeners_set_stays(engine, as_application):
    other = await as_application(create_async_engine(engine.url))

    @event.listens_for(other.sync_engine, "connect")
    def configure(connection, _):
        connection.cursor().execute("SET TIME ZONE 'Asia/Tokyo'")
        connection.cursor().execute("SET app.tenant = '1'")

    async with other.connect() as connection:
        for _ in range(2):
            assert (await connection.execute(SHOW)).scalar() == "1"
            assert (await connection.execute(text("SHOW timezone"))).scalar() == "Asia/Tokyo"
            await connection.execute(text("SET LOCAL app.tenant = '2'; SET LOCAL TIME ZONE 'UTC'"
                if "psycopg" in str(engine.url) else "SET LOCAL app.tenant = '2'"))
            await connection.commit()
    await other.dispose()


async def test_what_listeners_set_by_the_driver_stays(engine, as_application):
    other = await as_application(create_async_engine(engine.url))

    @event.listens_for(other.sync_engine, "connect")
    def configure(connection, _):
        setting = "SET search_path = pg_catalog, \\"a'b\\""
        connection.run_async(lambda driver: driver.execute(setting))

    async with other.connect() as connection:
        for _ in range(2):
            path = (await connection.execute(text("SHOW search_path"))).scalar()
            assert path == "pg_catalog, \\"a'b\\""
            await connection.execute(text("SET LOCAL search_path = public"))
            await connection.commit()
    await other.dispose()


async def test_a_listener_with_parameters(engine, as_application):
    other = await as_application(create_async_engine(engine.url))

    @event.listens_for(other.sync_engine, "connect")
    def configure(connection, _):
        mark = "%s" if "psycopg" in str(engine.url) else "$1"
        statement = f"SELECT set_config('app.tenant', {mark}, false)"
        connection.cursor().execute(statement, ("1",))

    with pytest.raises(TransactionControlError, match="with parameters, which the sandbox"):
        await other.connect()


async def test_the_name_of_a_setting_may_be_a_parameter(engine):
    async with engine.connect() as connection:
        await connection.execute(select(func.set_config("app.tenant", "7", True)))
        assert (await connection.execute(SHOW)).scalar() == "7"
        await connection.commit()
        assert (await connection.execute(SHOW)).scalar() == ""
        with pytest.raises(TransactionControlError, match="is for one session"):
            await connection.execute(select(func.set_config("app.tenant", "7", False)))


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


async def test_constraints_are_deferred_for_a_transaction_only(engine):
    twice = [
        text("INSERT INTO places (id, place) VALUES (1, 1)"),
        text("INSERT INTO places (id, place) VALUES (2, 1)"),
    ]
    async with engine.connect() as connection:
        await connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        for statement in twice:
            await connection.execute(statement)
        await connection.execute(text("UPDATE places SET place = id"))
        await connection.commit()
        with pytest.raises(DBAPIError, match="places_place_key"):
            await connection.execute(text("INSERT INTO places (id, place) VALUES (3, 1)"))
        await connection.rollback()


async def test_a_function_with_statements(engine):
    async with engine.begin() as connection:
        await connection.execute(text(
            "CREATE FUNCTION likes_of(note int) RETURNS int BEGIN ATOMIC"
            " SELECT likes FROM contract_notes WHERE id = note; END"
        ))


async def test_the_statement_that_others_wait_for(engine):
    async with engine.connect() as connection, engine.connect() as other:
        await connection.execute(text("SET LOCAL app.tenant = '7'"))
        await connection.execute(select(Note))
        with pytest.raises(CommitFirstError, match="SET LOCAL app.tenant"):
            await other.execute(select(Note))


def options_of(engine, name, value):
    is_psycopg = "psycopg" in str(engine.url)
    return {"options": f"-c {name}={value}"} if is_psycopg else {"server_settings": {name: value}}


async def test_a_limit_for_idle_transactions(engine, as_application):
    name = "idle_in_transaction_session_timeout"
    options = options_of(engine, name, "100")
    limited = await as_application(create_async_engine(engine.url, connect_args=options))
    async with limited.begin() as connection:
        await connection.execute(insert(Note).values(text="a"))
    await asyncio.sleep(0.5)
    assert await count(limited) == 1
    await limited.dispose()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_an_isolation_level_by_a_setting(engine, as_application, level):
    options = options_of(engine, "default_transaction_isolation", level.replace(" ", r"\\ "))
    if "psycopg" not in str(engine.url):
        options = {"server_settings": {"default_transaction_isolation": level}}
    other = await as_application(create_async_engine(engine.url, connect_args=options))
    with pytest.raises(TransactionControlError, match=f"are set to {level}; .* READ COMMITTED"):
        await count(other)
    await other.dispose()


async def test_constraints_of_one_name(engine):
    references = "CREATE TABLE {0} (id int PRIMARY KEY, of int CONSTRAINT c REFERENCES {0} {1})"
    async with engine.connect() as connection:
        await connection.execute(text(references.format("a", "DEFERRABLE")))
        await connection.commit()
        await connection.execute(text(references.format("b", "DEFERRABLE INITIALLY DEFERRED")))
        with pytest.raises(TransactionControlError, match="Several constraints are called"):
            await connection.commit()
        await connection.rollback()


async def test_a_deferred_trigger_runs_once(engine):
    move = "INSERT INTO moves (amount) VALUES (5), (-5)"
    async with engine.connect() as connection:
        await connection.execute(text(move))
        await connection.commit()
        assert (await connection.execute(text("SELECT count(*) FROM checks"))).scalar() == 2
        await connection.execute(text("TRUNCATE moves"))
        await connection.execute(text("CREATE INDEX ON moves (amount)"))
        await connection.commit()
        await connection.execute(text("INSERT INTO moves (amount) VALUES (5)"))
        with pytest.raises(DBAPIError, match="does not balance"):
            await connection.commit()
        await connection.rollback()
        assert (await connection.execute(text("SELECT count(*) FROM moves"))).scalar() == 0
        assert (await connection.execute(text("SELECT count(*) FROM checks"))).scalar() == 2


async def test_a_view_that_writes(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("SELECT * FROM view_of_view"))
        with pytest.raises(CommitFirstError):
            await other.execute(select(Note))
        await one.commit()
        await other.execute(insert(Note).values(text="b"))
        await other.rollback()
    assert await count(engine) == 1


async def test_a_function_that_a_test_has_made(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("CREATE FUNCTION more() RETURNS void LANGUAGE sql AS"
            " $$ INSERT INTO contract_notes (text, likes) VALUES ('more', 0) $$"))
        await one.commit()
        await one.execute(text("SELECT /* ' */ more ()"))
        await one.commit()
        await other.execute(insert(Note).values(text="b"))
        await other.rollback()
    assert await count(engine) == 1


async def test_a_function_that_only_reads_holds_nothing(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("SELECT number_of_notes(), now(), random(), gen_random_uuid()"))
        await other.execute(insert(Note).values(text="b"))


async def test_a_statement_that_is_too_slow(engine, as_application):
    other = await as_application(create_async_engine(engine.url, connect_args=SLOW_ARGS))
    async with other.connect() as connection:
        await connection.execute(insert(Note).values(text="a"))
        await connection.commit()
        with pytest.raises((TimeoutError, DBAPIError)):
            await connection.execute(text("SELECT pg_sleep(30)"))
        await connection.rollback()
        assert (await connection.execute(select(Note.text))).scalars().all() == ["a"]
        await connection.execute(insert(Note).values(text="b"))
        await connection.commit()
    assert await count(other) == 2
    await other.dispose()


async def test_an_engine_with_another_name(engine):
    assert await count(engine) == 0
    other = create_async_engine(engine.url, connect_args=NAMED_ARGS)
    assert await count(other) == 0
    await other.dispose()


async def test_what_must_not_be_in_a_transaction(engine):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="not possible in a transaction"):
            await connection.execute(
                text("CREATE INDEX CONCURRENTLY by_likes ON contract_notes (likes)")
            )
    assert await count(engine) == 0


async def test_a_text_that_sounds_like_a_flag(engine):
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT set_config('app.tenant', :tenant, :is_local)"),
            {"tenant": "False Bay", "is_local": True},
        )


async def test_names_and_operators_that_look_like_something_else(engine):
    statement = text('SELECT likes&1, likes AS "; COMMIT" FROM contract_notes')
    async with engine.connect() as one, engine.connect() as other:
        assert (await one.execute(statement)).all() == []
        assert (await other.execute(statement)).all() == []  # as a read, it waits for nobody


async def test_a_function_that_only_seems_to_change_the_session(engine):
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT harmless('7')")) == 0
        setting = text("SELECT set_config('app.tenant', :value, :local), :other")
        await connection.execute(setting, {"value": "7", "local": True, "other": "1"})


async def test_a_failure_after_a_savepoint_was_released(engine, session):
    async with session.begin_nested():
        session.add(Note(text="a"))
    with pytest.raises(DBAPIError):
        await session.execute(text("SELECT 1 / 0"))
    async with engine.begin() as connection:
        await connection.execute(insert(Note).values(text="b"))
    await session.rollback()
    assert (await session.scalars(select(Note.text))).all() == ["b"]


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


OF_ONE_SESSION = [
    "CREATE TEMPORARY TABLE t (id int) ON COMMIT DROP",
    "SELECT 1 AS one INTO TEMP t",
    "SET TRANSACTION READ ONLY",
    "SET search_path = pg_catalog",
    "/* ' */ SET SESSION TIME ZONE 'UTC' -- '",
    "SELECT set_config('app.tenant', '7', false)",
    "SELECT pg_advisory_lock(4711)",
    "SELECT lastval()",
    'SELECT "pg_try_advisory_lock_shared" (4711)',
    "LISTEN news",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SELECT take_job(7)",
    "DO $$ BEGIN PERFORM pg_advisory_lock(7); END $$",
    "DO $$ BEGIN SET app.tenant = 'acme'; END $$",
    "DO $$ BEGIN EXECUTE 'listen ' || 'jobs'; END $$",
    "SELECT set_config('app.tenant', '7', 'off')",
    "SELECT set_config('app.tenant', '7', 1 = 0), set_config('app.user', '7', true)",
    "SELECT set_tenant_for_long('7')",
    "SELECT take_a_job_at_once()",
    "SELECT take_a_job_by_another()",
    "DO $$ BEGIN PERFORM take_job(7); END $$",
    "SELECT setval('contract_notes_id_seq', 7)",
    "SELECT pg_backend_pid()",
    "SELECT setseed(0.5)",
    "CALL commit_by_itself()",
    "CLUSTER",
    'SELECT "take_a_job" ()',
    "SELECT number_of_notes(), make_report()",
]
WHY = "real_commits"


async def test_a_read_only_transaction(engine):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="cannot show a read-only transaction"):
            await connection.execution_options(postgresql_readonly=True)
""",
    "mysql": """
CONNECT_ARGS = {}
OTHER_ARGS = {"connect_timeout": 7}
ENDLESS = "SELECT SLEEP(30)"
SKIP_LOCKED = select(Note).with_for_update(skip_locked=True)
SETTING = "SET SESSION sql_mode = 'ANSI'"


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

OF_ONE_SESSION = [
    "SELECT @x := 7",
    "SELECT LAST_INSERT_ID()",
    "SET @x = 7",
    "SELECT 1 INTO @x",
    "SET SESSION sql_mode = 'ANSI'",
    "CREATE TEMPORARY TABLE t (id int)",
    "SELECT GET_LOCK('a', 0)",
    "SELECT /* ' */ release_lock ('a') -- '",
    "PREPARE p FROM 'SELECT 1'",
    "CALL set_tenant(1)",
    "CALL `set_a_tenant`",
    "CALL bulk_mode",
    "SELECT create_note('a'), take_job()",
    "USE information_schema",
    "SELECT CONNECTION_ID()",
    "KILL QUERY 7",
]
WHY = "one session|is not undone by a rollback"


async def test_a_table_that_is_not_transactional(engine):
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO logs VALUES (1)"))
        await connection.execute(text("INSERT INTO seen VALUES (1)"))


async def test_nothing_is_left_in_that_table(engine):
    async with engine.begin() as connection:
        for table in ("logs", "seen"):
            assert (await connection.execute(text(f"SELECT * FROM {table}"))).all() == []


async def test_autocommit_among_other_settings(engine):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match="commits by itself"):
            await connection.execute(text("SET foreign_key_checks = 0, autocommit = 1"))
""",
    "sqlite": """
from tests.harness.database.schema import TEST_TABLES
from sqlalchemy import Column, ForeignKey, Integer, Table
from sqlalchemy.exc import IntegrityError

CONNECT_ARGS = {"timeout": 5}
OTHER_ARGS = {"cached_statements": 7}
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000000)"
    " SELECT max(i) FROM n"
)
SETTING = "PRAGMA recursive_triggers = ON"
SKIP_LOCKED = select(Note).with_for_update()
replies = Table(
    "replies",
    TEST_TABLES,
    Column("id", Integer, primary_key=True),
    Column("note_id", ForeignKey("contract_notes.id", deferrable=True, initially="DEFERRED")),
)


async def test_a_deferred_foreign_key(engine):
    async with engine.connect() as connection:
        await connection.execute(insert(replies).values(note_id=1))
        await connection.execute(insert(Note).values(id=1, text="a"))
        await connection.commit()
        await connection.execute(insert(replies).values(note_id=2))
        with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed") as failure:
            await connection.commit()
        assert failure.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY"
        await connection.rollback()
        assert len((await connection.execute(select(replies))).all()) == 1


async def test_tables_are_looked_for_and_created(engine):
    extra = Table("extra", MetaData(), Column("id", Integer, primary_key=True))
    async with engine.begin() as connection:
        assert not await connection.run_sync(lambda sync: inspect(sync).has_table("extra"))
        await connection.run_sync(extra.metadata.create_all)
        await connection.run_sync(lambda sync: Table("extra", MetaData(), autoload_with=sync))


async def test_reads_with_names_that_mean_something_else(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("SELECT temp.id FROM contract_notes AS temp"))
        await one.execute(text("WITH w AS (SELECT replace('a', 'b', 'c')) SELECT * FROM w"))
        await other.execute(insert(Note).values(text="a"))


async def test_a_table_with_the_name_of_a_function(engine):
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE changes (ok int, fail int)"))
        await connection.execute(text("INSERT INTO changes (ok, fail) VALUES (0, 1)"))
        found = await connection.execute(text("SELECT * FROM changes WHERE ok OR fail"))
        assert found.all() == [(0, 1)]


async def test_a_trigger_with_statements(engine):
    async with engine.begin() as connection:
        await connection.execute(text(
            "CREATE TRIGGER like_it AFTER INSERT ON contract_notes"
            " BEGIN UPDATE contract_notes SET likes = 7 WHERE id = NEW.id; END"
        ))
        await connection.execute(insert(Note).values(text="a"))
        assert (await connection.execute(select(Note.likes))).all() == [(7,)]


OF_ONE_SESSION = [
    "PRAGMA foreign_keys = OFF",
    "SELECT last_insert_rowid()",
    "PRAGMA busy_timeout(7)",
    "CREATE TEMP TABLE t (id INTEGER)",
    "INSERT OR ROLLBACK INTO contract_notes (text, likes) VALUES ('a', 0)",
    "/* ' */ insert or  rollback INTO contract_notes (text, likes) VALUES ('a', 0) -- '",
    "ATTACH ':memory:' AS other",
]
WHY = "real_commits"


async def test_what_asks_only(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("PRAGMA table_info(contract_notes)"))
        await one.execute(text("PRAGMA foreign_keys"))
        await other.execute(insert(Note).values(text="a"))
""",
}

REFUSED = """
@pytest.mark.parametrize("statement", OF_ONE_SESSION)
async def test_what_is_of_one_session(engine, statement):
    async with engine.connect() as connection:
        with pytest.raises(TransactionControlError, match=WHY) as refused:
            await connection.exec_driver_sql(statement)
        assert repr(shorten(statement)) in str(refused.value)  # as it was sent
        await connection.rollback()
    assert await count(engine) == 0
"""

SEVERAL_AT_ONCE = """
async def test_several_statements_at_once(engine, harness_sandbox):
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            "SAVEPOINT a; INSERT INTO contract_notes (text, likes) VALUES ('a', 0); ROLLBACK TO a"
        )
        assert (await connection.execute(select(Note))).all() == []
        with pytest.raises(TransactionControlError, match="begins or ends a transaction"):
            await connection.exec_driver_sql("SELECT 1; COMMIT")
"""

FUNCTIONS = """
made = []


@async_fixture("class")
async def shared(session_factory):
    made.append("shared")
    async with session_factory.begin() as session:
        session.add(Note(text="shared"))


class TestSharedData:
    @pytest.mark.parametrize("attempt", [1, 2])
    async def test_a_function_leaves_them_as_they_are(self, shared, engine, attempt):
        async with engine.begin() as connection:
            await connection.execute(text("SELECT create_note('a')"))
            assert await connection.scalar(select(func.count()).select_from(Note)) == 2
        assert made == ["shared"]


async def test_a_function_that_writes(engine):
    async with engine.connect() as one, engine.connect() as other:
        await one.execute(text("SELECT create_note('a')"))
        with pytest.raises(CommitFirstError):
            await other.execute(select(Note))
        await one.commit()
        await one.execute(text("SELECT create_note('undone')"))
        await one.rollback()
        await other.execute(insert(Note).values(text="b"))
        await other.rollback()
        with pytest.raises(DBAPIError):
            await other.execute(text("SELECT * FROM nowhere"))
        await other.rollback()
        assert (await other.execute(select(Note.text))).scalars().all() == ["a"]
"""

SCHEMA = {
    "postgresql": [
        "CREATE FUNCTION create_note(name text) RETURNS int LANGUAGE sql AS"
        " $$ INSERT INTO contract_notes (text, likes) VALUES (name, 0) RETURNING 1 $$",
        "CREATE FUNCTION number_of_notes() RETURNS bigint STABLE LANGUAGE sql AS"
        " $$ SELECT count(*) FROM contract_notes $$",
        "CREATE FUNCTION set_tenant(id text) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.tenant', id, true); END $$",
        "CREATE FUNCTION take_job(id int) RETURNS bool LANGUAGE sql AS"
        " $$ SELECT pg_try_advisory_lock(id) $$",
        "CREATE FUNCTION take_a_job_at_once() RETURNS bool LANGUAGE sql"
        " BEGIN ATOMIC SELECT pg_try_advisory_lock(7); END",
        "CREATE FUNCTION take_a_job_by_another() RETURNS bool LANGUAGE sql"
        " BEGIN ATOMIC SELECT take_job(7); END",
        "CREATE FUNCTION set_tenant_for_long(id text, how bool DEFAULT false) RETURNS void"
        " LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.tenant', id, how); END $$",
        "CREATE PROCEDURE commit_by_itself() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        "CREATE FUNCTION harmless(id text) RETURNS int LANGUAGE plpgsql AS $$"
        " DECLARE temp int; BEGIN -- LISTEN, or pg_advisory_lock(1)\n"
        " SELECT count(*) INTO temp FROM places; FOR listen IN 1..2 LOOP NULL; END LOOP;"
        " PERFORM set_config('app.tenant', coalesce(id, 'false')::text, /* not false) */ true);"
        " IF temp < 0 THEN RAISE 'do not create temporary users'; END IF; RETURN temp; END $$",
        "CREATE FUNCTION take_a_job() RETURNS bool LANGUAGE sql AS $$ SELECT take_job(7) $$",
        "CREATE FUNCTION make_report() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN CREATE TEMP TABLE report AS SELECT 1; END $$",
        "CREATE VIEW view AS SELECT create_note('by a view') AS one",
        "CREATE VIEW view_of_view AS SELECT one FROM view",
        "CREATE TABLE places (id int PRIMARY KEY, place int UNIQUE DEFERRABLE)",
        "CREATE TABLE checks (id serial)",
        "CREATE TABLE moves (amount int)",
        "CREATE FUNCTION check_moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO checks DEFAULT VALUES;"
        " IF (SELECT sum(amount) FROM moves) <> 0 THEN RAISE 'does not balance'; END IF;"
        " RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER balance AFTER INSERT ON moves"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_moves()",
    ],
    "mysql": [
        "CREATE FUNCTION create_note(name VARCHAR(50)) RETURNS INT MODIFIES SQL DATA"
        " BEGIN INSERT INTO contract_notes (text, likes) VALUES (name, 0); RETURN 1; END",
        "CREATE PROCEDURE charge()"
        " BEGIN INSERT INTO contract_notes (text, likes) VALUES ('charged', 0); COMMIT; END",
        "CREATE PROCEDURE set_tenant(id INT) SET @tenant = id",
        "CREATE PROCEDURE set_a_tenant() CALL set_tenant(7)",
        "CREATE PROCEDURE bulk_mode() SET SESSION foreign_key_checks = 0",
        "CREATE FUNCTION take_job() RETURNS INT RETURN GET_LOCK('job', 0)",
        "CREATE TABLE logs (id INT) ENGINE = MyISAM",
        "CREATE TABLE seen (id INT) ENGINE = MEMORY",
    ],
    "sqlite": [],
}
"""What the migration makes; before `contract_notes`, which their bodies may name."""

MORE_ARGS = {
    "asyncpg": """
OTHER_ARGS = {"server_settings": {"search_path": "pg_catalog"}}
NAMED_ARGS = {"server_settings": {"application_name": "other"}}
SLOW_ARGS = {"command_timeout": 0.2}
""",
    "psycopg": """
OTHER_ARGS = {"keepalives_idle": 7}
NAMED_ARGS = {"application_name": "other"}
SLOW_ARGS = {"options": "-c statement_timeout=200"}
""",
}


ON_PYTHONS = [(driver, OLDEST) for driver in BACKENDS]
if OLDEST != NEWEST:
    ON_PYTHONS += [(driver, NEWEST) for driver in ("psycopg", "aiosqlite", "asyncmy")]


@pytest.mark.parametrize(("driver", "python"), ON_PYTHONS)
def test_sandbox(generate_installed: Generate, driver: str, python: str) -> None:
    backend = BACKENDS[driver]
    project = generate_installed(driver=driver, python=python)
    of_servers = [ON_A_SERVER, FUNCTIONS] if backend != "sqlite" else []
    parts = [
        IN_ANY_SANDBOX,
        MORE_ARGS.get(driver, ""),
        IN_A_SANDBOX_OF[backend],
        REFUSED,
        *of_servers,
        SEVERAL_AT_ONCE if driver in ("psycopg", "asyncmy", "aiomysql") else "",
    ]
    (project.path / "tests/test_sandbox.py").write_text("\n\n".join(parts))
    migration = project.path / "migrations/versions/0001_items.py"
    made = "\n    ".join(
        f"op.execute({statement!r})" for statement in ["SELECT 1", *SCHEMA[backend]]
    )
    if backend == "postgresql":  # or the bodies would be checked
        made = f"op.execute('SET LOCAL check_function_bodies = off')\n    {made}"
    upgrade = f"def upgrade() -> None:\n    {made}"
    migration.write_text(migration.read_text().replace("def upgrade() -> None:", upgrade))
    if backend != "mysql":
        project.run("pytest", "tests/test_sandbox.py")
        return
    output = project.run("pytest", "tests/test_sandbox.py", exit_code=1)
    assert "2 errors" in output
    assert "failed" not in output
    assert "ERROR tests/test_sandbox.py::test_a_procedure_that_commits" in output
    assert "The sandbox's transaction is gone, or cannot be undone." in output
    assert "ERROR tests/test_sandbox.py::test_a_table_that_is_not_transactional" in output
    assert "couldn't be rolled back, as those of MyISAM and MEMORY" in output
