"""What real commits have written is gone after the test, whatever the schema looks like."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import GeneratedProject, write_migration

SCHEMAS = Path(__file__).parent / "schemas"

WRITE = """
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

COUNTRIES = text("SELECT id, name, length FROM countries ORDER BY id")
PRICES = text("SELECT id, price FROM prices FOR SYSTEM_TIME ALL")
RATES = text("SELECT id, rate FROM rates FOR SYSTEM_TIME ALL")
PRISTINE = [(1, "Italy", 5), (2, "Peru", 4)]
STATEMENTS = [
    "INSERT INTO chickens (egg_id) VALUES (NULL)",
    "INSERT INTO eggs (chicken_id, country_id) VALUES (1, 2)",
    "UPDATE chickens SET egg_id = 1",
    "INSERT INTO trees (parent_id) VALUES (NULL)",
    "INSERT INTO trees (parent_id) VALUES (1)",
    "INSERT INTO days VALUES ('2025-05-05')",
    "INSERT INTO days VALUES ('2026-05-05')",
]
CHANGES = [
    ["UPDATE countries SET name = 'italy' WHERE id = 1"],
    ["DELETE FROM countries WHERE id = 1"],
    ["INSERT INTO countries (name) VALUES ('Chile')"],
    ["UPDATE countries SET id = 9 WHERE id = 1"],
]
INSERT_STRANGE = {
    "postgresql": 'INSERT INTO "Other"."it\\'s ""a"" table" DEFAULT VALUES',
    "mysql": "INSERT INTO `it's ``a`` table` () VALUES ()",
    "sqlite": 'INSERT INTO "it\\'s ""a"" table" DEFAULT VALUES',
}


async def assert_pristine(connection):
    assert (await connection.execute(COUNTRIES)).all() == PRISTINE
    for table in ("names", "chickens", "eggs", "trees", "days", "log"):
        count = text(f"SELECT count(*) FROM {table}")
        assert (await connection.execute(count)).scalar() == 0, table


@pytest.mark.real_commits
@pytest.mark.parametrize("changes", [[], *CHANGES, []])
async def test_everything_is_written(engine, changes):
    async with engine.begin() as connection:
        await assert_pristine(connection)
        for _ in range(3):
            await connection.execute(text(INSERT_STRANGE[connection.dialect.name]))
        assert (await connection.execute(text("SELECT min(id) FROM names"))).scalar() == 1
        for statement in [*STATEMENTS, *changes]:
            await connection.execute(text(statement))
        if connection.dialect.name == "postgresql":
            assert (await connection.execute(text("SELECT nextval('numbers')"))).scalar() == 8
            assert (await connection.execute(text("SELECT count FROM tree_count"))).scalar() == 0
            await connection.execute(text("REFRESH MATERIALIZED VIEW tree_count"))
        if connection.dialect.name == "mysql":
            assert (await connection.execute(text("SELECT nextval(numbers)"))).scalar() == 7
            assert (await connection.execute(PRICES)).all() == []
            assert (await connection.execute(RATES)).all() == [(1, 3), (2, 5)]
            await connection.execute(text("INSERT INTO prices (price) VALUES (100)"))
            await connection.execute(text("UPDATE prices SET price = 101 WHERE id = 1"))
            await connection.execute(text("DELETE FROM prices"))
            await connection.execute(text("UPDATE rates SET rate = 4 WHERE id = 1"))
            await connection.execute(text("UPDATE rates SET rate = 3 WHERE id = 1"))


@pytest.mark.real_commits
@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_counter_is_used(engine, attempt):
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO trees (parent_id) VALUES (NULL)"))
        assert (await connection.execute(text("SELECT max(id) FROM trees"))).scalar() == 1
        await connection.rollback()


@pytest.mark.real_commits
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("statement", [
    "CREATE TABLE more (id int)",
    "ALTER TABLE trees ADD COLUMN height int",
    "ALTER TABLE trees RENAME TO bushes",
    "ALTER TABLE eggs RENAME COLUMN country_id TO origin_id",
    "CREATE UNIQUE INDEX one_per_country ON eggs (country_id)",
    "DROP VIEW names",
])
async def test_tables_are_altered(engine, statement, attempt):
    async with engine.begin() as connection:
        await assert_pristine(connection)
        await connection.execute(text(statement))


@pytest.mark.real_commits
async def test_another_engine_writes(engine):
    other = create_async_engine(engine.url, poolclass=NullPool)
    async with other.begin() as connection:
        await connection.execute(text("INSERT INTO trees (parent_id) VALUES (NULL)"))


async def test_it_is_clean_again(engine):
    async with engine.connect() as connection:
        await assert_pristine(connection)
"""


def write_tests(project: GeneratedProject, backend: str) -> None:
    """Give `project` a hard schema, and tests that write to it."""
    write_migration(project, (SCHEMAS / f"{backend}.sql").read_text())
    (project.path / "tests/test_reset.py").write_text(WRITE)


@pytest.mark.parametrize("isolation", ["reset", "savepoint"])
@pytest.mark.parametrize("driver", BACKENDS)
def test_hard_schemas(generate_installed: Generate, driver: str, isolation: str) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    write_tests(project, BACKENDS[driver])
    project.run("pytest", "tests/test_reset.py")


REFERENCE = """
CREATE TABLE parents (id INT PRIMARY KEY, value INT);
CREATE TABLE children (id INT PRIMARY KEY, parent INT,
    FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE);
CREATE TABLE plain (id INT PRIMARY KEY);
CREATE TABLE parted (id INT PRIMARY KEY, value INT) PARTITION BY HASH (id) PARTITIONS 4;
CREATE TABLE versioned (id INT PRIMARY KEY, value INT) WITH SYSTEM VERSIONING;
CREATE TABLE aria (id INT PRIMARY KEY, value INT) ENGINE = Aria;
INSERT INTO parents VALUES (1, 1), (2, 2);
INSERT INTO children VALUES (1, 1), (2, 2);
INSERT INTO plain VALUES (1), (2);
INSERT INTO parted VALUES (1, 1), (2, 2);
INSERT INTO versioned VALUES (1, 1), (2, 2);
INSERT INTO aria VALUES (1, 1), (2, 2);
CREATE TRIGGER moves AFTER INSERT ON items FOR EACH ROW UPDATE plain SET id = id + 100;
"""
WRITE_LATER = """
import asyncio

import pytest
from sqlalchemy import text

TABLES = ("parents", "children", "plain", "parted", "versioned", "aria")


@pytest.mark.real_commits
@pytest.mark.parametrize("statement", [
    "DELETE FROM parents WHERE id = 1",
    "TRUNCATE TABLE plain",
    "UPDATE parted SET value = 5 WHERE id = 2",
    "UPDATE versioned SET value = 5",
    "UPDATE aria SET value = 5",
    "INSERT INTO items (name) VALUES ('moves')",
    "SELECT 1",
])
async def test_written_later(engine, statement, seen={}):
    async with engine.connect() as connection:
        for table in TABLES:
            rows = (await connection.execute(text(f"SELECT * FROM {table} ORDER BY id"))).all()
            assert len(rows) == 2
            assert rows == seen.setdefault(table, rows)
    await asyncio.sleep(1.1)  # into a second in which nothing has been written
    async with engine.begin() as connection:
        await connection.execute(text(statement))
"""


@pytest.mark.parametrize(("driver", "isolation"), [("asyncmy", "reset"), ("aiomysql", "savepoint")])
def test_reference_data_is_read_if_it_may_have_changed(
    generate_installed: Generate, driver: str, isolation: str
) -> None:
    """MariaDB says when a table was written to last, to the second, but for one that it empties."""
    project = generate_installed(driver=driver, isolation=isolation)
    project.variables["TEST_DATABASE_URL"] = require_server("mysql")
    write_migration(project, REFERENCE)
    (project.path / "tests/test_later.py").write_text(WRITE_LATER)
    assert "7 passed" in project.run("pytest", "tests/test_later.py")


HIDE = """
import pytest
from sqlalchemy import text

# What a function does that a SELECT calls, and what would show it.
HIDDEN = [
    ("UPDATE tags SET name = 'second'", "SELECT string_agg(t || name, '') FROM tags"),
    ("UPDATE jobs SET task = 'rest'", "SELECT string_agg(task || written, '') FROM jobs"),
    ("INSERT INTO people VALUES (2, 5)", "SELECT count(*) FROM people"),
    ("SELECT lo_create(816)", "SELECT sum(oid::int) FROM pg_largeobject_metadata"),
    ("UPDATE animals SET name = 'emu'", "SELECT string_agg(name, '') FROM birds"),
    ("DELETE FROM measurements WHERE number > 7", "SELECT count(*) FROM measurements"),
    ("INSERT INTO orders DEFAULT VALUES", "SELECT coalesce(max(what), '') FROM log"),
    ("INSERT INTO days VALUES ('2025-05-05')", "SELECT count(*) FROM days_2025"),
    ("TRUNCATE tags CASCADE", "SELECT count(*) FROM tags"),
    ("SET LOCAL session_replication_role = replica; DELETE FROM tags", "SELECT count(*) FROM tags"),
    ("REFRESH MATERIALIZED VIEW tree_count", "SELECT 0"),
    (
        "UPDATE tags SET name = 'x'; REFRESH MATERIALIZED VIEW CONCURRENTLY tag_names",
        "SELECT name FROM tag_names",
    ),
    (
        "ALTER TABLE tags ALTER name DROP NOT NULL",
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'tags'::regclass AND attnum = 2",
    ),
    ("CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'", "SELECT one()"),
    ("COMMENT ON TABLE tags IS 'no'", "SELECT obj_description('tags'::regclass) IS NULL"),
    ("COMMENT ON TABLE animals IS NULL", "SELECT obj_description('animals'::regclass) IS NULL"),
    ("GRANT SELECT ON tags TO PUBLIC", "SELECT relacl::text FROM pg_class WHERE relname = 'tags'"),
    (
        "GRANT CREATE ON SCHEMA public TO PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'",
    ),
    ("ALTER TYPE mood ADD VALUE 'sad'", "SELECT enum_range(NULL::mood)::text"),
    ("CREATE POLICY nothing ON tags USING (false)", "SELECT count(*) FROM pg_policy"),
    ("DROP POLICY everything ON tags", "SELECT count(*) FROM pg_policy"),
    ("ALTER SEQUENCE numbers INCREMENT 5", "SELECT sum(seqincrement) FROM pg_sequence"),
    ("ALTER TABLE trees DISABLE TRIGGER log", "SELECT min(tgenabled) FROM pg_trigger"),
    ("CREATE DOMAIN word AS text", "SELECT to_regtype('word') IS NULL"),
    ("CREATE TABLE more (id int)", "SELECT to_regclass('more') IS NULL"),
    ("CREATE TEMP TABLE report (n int)", "SELECT count(*) FROM pg_class WHERE relname = 'report'"),
    (
        "SELECT pg_advisory_lock(816)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 816",
    ),
    ("LISTEN jobs", "SELECT count(*) FROM pg_listening_channels()"),
]


@pytest.mark.real_commits
@pytest.mark.parametrize(("statement", "sight"), HIDDEN)
async def test_it_is_undone(engine, statement, sight, seen={}):
    async with engine.begin() as connection:
        for _, query in HIDDEN:
            row = (await connection.execute(text(query))).first()
            assert row == seen.setdefault(query, row), query
        await connection.execute(text("SELECT run(:statement)"), {"statement": statement})


@pytest.mark.real_commits
@pytest.mark.parametrize("attempt", range(3))
async def test_ids_in_store_are_forgotten(engine, attempt):
    async with engine.connect() as first, engine.connect() as second:
        for connection, number in ((first, 1), (second, 21)):
            order = text("INSERT INTO orders DEFAULT VALUES RETURNING id")
            assert await connection.scalar(order) == number
            await connection.commit()
"""


@pytest.mark.parametrize("isolation", ["reset", "savepoint"])
@pytest.mark.parametrize("role", ["superuser", "ordinary"])
def test_what_a_function_does(generate_installed: Generate, isolation: str, role: str) -> None:
    address = require_server("postgresql")
    project = generate_installed(isolation=isolation)
    write_tests(project, "postgresql")
    test = HIDE
    if role == "ordinary":
        address = create_role(project, address)
        test = test.replace("SET LOCAL session_replication_role = replica;", "")  # it may not
    (project.path / "tests/test_reset.py").write_text(test)
    project.run("pytest", "tests/test_reset.py", TEST_DATABASE_URL=address)


POOLED = """
import pytest
from my_app.models import Item
from sqlalchemy import text

TABLES = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|info)'"


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_session_has_no_memory(session, attempt):
    with pytest.raises(Exception, match="currval"):
        await session.execute(text("SELECT currval('items_id_seq')"))
    await session.rollback()
    session.add(Item(name="chair"))
    await session.execute(text("SELECT 1 AS one INTO pg_temp.numbers"))
    await session.execute(text("UPDATE pg_settings SET setting = '8MB' WHERE name = 'work_mem'"))
    await session.commit()


@pytest.mark.parametrize("attempt", [1, 2])
async def test_tables_are_emptied_one_by_one(session, attempt):
    assert await session.scalar(text("SELECT count(*) FROM items")) == 0
    assert await session.scalar(text("SHOW work_mem")) == "4MB"
    session.add(Item(name="chair"))
    await session.commit()
    tables = await session.scalars(text(TABLES))
    for table in [*tables, "tests_harness.writes"]:
        await session.execute(text(f"TRUNCATE {table} CASCADE"))
    await session.execute(text("INSERT INTO items (name) VALUES ('table')"))
    await session.commit()
"""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_a_pooled_connection_remembers(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    (project.path / "tests/test_pooled.py").write_text(POOLED)
    assert "4 passed" in project.run("pytest", "tests/test_pooled.py")


TRIGGERS = """
CREATE TABLE seeds (id int PRIMARY KEY, name varchar(20), weight float, token varchar(40))

CREATE TABLE seed_log (what varchar(20))

CREATE TRIGGER seeds_before BEFORE INSERT ON seeds FOR EACH ROW SET NEW.token = UUID()

CREATE TRIGGER seeds_after AFTER INSERT ON seeds FOR EACH ROW INSERT INTO seed_log VALUES ('new')

INSERT INTO seeds (id, name, weight) VALUES (1, 'fig', 0.1), (2, 'oak', 1.0000001)

CREATE TABLE weights (id int PRIMARY KEY, weight float)

INSERT INTO weights VALUES (1, 1.0000001)

CREATE FUNCTION in_percent(x int) RETURNS tinyint DETERMINISTIC RETURN x * 100

SET SESSION sql_mode = ''

CREATE FUNCTION in_percent_at_most(x int) RETURNS tinyint DETERMINISTIC RETURN x * 100
"""

SEEDS = """
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

STATEMENTS = [
    "UPDATE seeds SET name = 'elm' WHERE id = 1",
    "UPDATE weights SET weight = 1.0000004",
    "/*!50003 CREATE TRIGGER t1 BEFORE INSERT ON items FOR EACH ROW SET NEW.name = 'changed' */",
    "EXECUTE IMMEDIATE 'CREATE TRIGGER t2 BEFORE INSERT ON items FOR EACH ROW SET NEW.id = 7'",
    "SET STATEMENT max_statement_time = 9 FOR CREATE INDEX by_nine ON items (description(9))",
    "BEGIN NOT ATOMIC IF 1 THEN CREATE INDEX by_text ON items (description(8)); END IF; END",
    "SELECT 1",
]
SIGHTS = [
    "SELECT GROUP_CONCAT(name, weight + 0e0 ORDER BY id) FROM seeds",
    "SELECT COUNT(*) FROM seed_log",
    "SELECT weight + 0e0 FROM weights",
    "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    "SELECT COUNT(DISTINCT index_name) FROM information_schema.statistics"
    " WHERE table_schema = DATABASE() AND table_name = 'items'",
]


@pytest.mark.real_commits
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_it_is_undone(engine, statement, seen={}):
    async with engine.begin() as connection:
        for sight in SIGHTS:
            value = await connection.scalar(text(sight))
            assert value == seen.setdefault(sight, value), sight
        await connection.execute(text(statement))


async def test_code_is_as_strict_as_it_was_made(engine):
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT in_percent_at_most(2)")) == 127
        with pytest.raises(DBAPIError, match="Out of range"):
            await connection.scalar(text("SELECT in_percent(2)"))
"""


@pytest.mark.parametrize("isolation", ["reset", "savepoint"])
def test_triggers_and_roundings_of_mariadb(generate_installed: Generate, isolation: str) -> None:
    project = generate_installed(driver="asyncmy", isolation=isolation)
    write_migration(project, TRIGGERS)
    (project.path / "tests/test_seeds.py").write_text(SEEDS)
    assert "8 passed" in project.run("pytest", "tests/test_seeds.py")


BEYOND_TABLES = """
import pytest
from sqlalchemy import text


@pytest.mark.parametrize("attempt", range(3))
async def test_nothing_is_left(session, attempt):
    for catalog in ("pg_publication", "pg_largeobject_metadata", "pg_extension WHERE oid >= 16384"):
        assert not await session.scalar(text(f"SELECT count(*) FROM {catalog}")), catalog
    await session.execute(text("CREATE PUBLICATION everything FOR ALL TABLES"))
    await session.execute(text("SELECT lo_from_bytea(0, 'x')"))
    await session.execute(text("SET LOCAL ROLE loopsafe_tests"))
    assert (await session.execute(text("SELECT * FROM items"))).all() == []
    await session.commit()
"""


@pytest.mark.parametrize("isolation", ["create_drop", "clone", "reset"])
def test_what_is_beyond_tables(generate_installed: Generate, isolation: str) -> None:
    server = require_server("postgresql")
    project = generate_installed(isolation=isolation)
    create_role(project, server)
    grant = "GRANT SELECT ON items TO loopsafe_tests"
    write_migration(project, grant)
    (project.path / "tests/test_beyond.py").write_text(BEYOND_TABLES)
    project.run("pytest", "tests/test_beyond.py", TEST_DATABASE_URL=server)


SETTINGS_OF_THE_DATABASE = """
import pytest
from sqlalchemy import text

SET = {"timezone": "Asia/Tokyo", "search_path": '"$user", public, pg_catalog', "app.region": "it's"}


@pytest.mark.parametrize("name", SET)
async def test_it_is_set(engine, name):
    async with engine.connect() as connection:
        assert await connection.scalar(text(f"SHOW {name}")) == SET[name]
        assert await connection.scalar(text("SHOW lock_timeout")) == "5s"
"""

SET_FOR_THE_DATABASE = """
DO $$ DECLARE setting text; BEGIN
    FOREACH setting IN ARRAY ARRAY[
        $_$timezone = 'Asia/Tokyo'$_$, $_$search_path = "$user", public, pg_catalog$_$,
        $_$app.region = 'it''s'$_$, $_$lock_timeout = 0$_$
    ] LOOP
        EXECUTE format('ALTER DATABASE %I SET ', current_database()) || setting;
    END LOOP;
END $$
"""


@pytest.mark.parametrize("isolation", ["savepoint", "clone"])
def test_what_migrations_set_for_the_database(generate_installed: Generate, isolation: str) -> None:
    project = generate_installed(isolation=isolation)
    write_migration(project, SET_FOR_THE_DATABASE)
    (project.path / "tests/test_set.py").write_text(SETTINGS_OF_THE_DATABASE)
    project.run("pytest", "tests/test_set.py")
    project.run("pytest", "tests/test_set.py")  # in a database that is a copy of a copy


def test_migrations_that_create_a_role(generate_installed: Generate) -> None:
    server = require_server("postgresql")
    project = generate_installed(isolation="create_drop")
    create_role(project, server)
    write_migration(project, "CREATE ROLE loopsafe_tests")
    output = project.run("pytest", exit_code=4, TEST_DATABASE_URL=server)
    assert 'role "loopsafe_tests" already exists' in output
    assert "If it belongs to the server, as a role does" in output
    assert "Traceback" not in output


LEAVE_OPEN = """
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.harness.contract.example_app import Note
from tests.harness.database.thread import is_harness

kept = []


async def test_transaction_left_open(engine):
    is_harness.set(True)  # so the connection is one that the harness does not know
    kept.append(await create_async_engine(engine.url, poolclass=NullPool).connect())
    await kept[0].execute(insert(Note).values(text="a"))


async def test_next_is_clean(session):
    session.add(Note(text="a"))
    await session.commit()
    assert len((await session.scalars(select(Note))).all()) == 1
"""


@pytest.mark.parametrize("driver", BACKENDS)
def test_a_transaction_beyond_the_pools_is_named(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    (project.path / "tests/test_open.py").write_text(LEAVE_OPEN)
    ignored = "ignore::pytest.PytestUnraisableExceptionWarning"  # nobody closes that connection
    output = project.run("pytest", "-W", ignored, "tests/test_open.py", exit_code=1)
    assert "1 error" in output
    assert "2 passed" in output
    named = {
        "postgresql": r"session \d+, idle in transaction: INSERT INTO contract_notes",
        "mysql": r"session \d+, Sleep: ",
        "sqlite": r"has locked \S+\.db",
    }
    message = r"LeakError: This test has left a transaction open, not in a pool: .*{}"
    assert re.search(message.format(named[BACKENDS[driver]]), output)


CANCEL = """
import asyncio

import pytest
from sqlalchemy import text


@pytest.mark.real_commits
@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED"])
@pytest.mark.parametrize("is_second", [True, False])
async def test_cancelled(engine, is_second, level):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), engine.connect() as connection:
            await connection.execution_options(isolation_level=level)
            if is_second:
                await connection.execute(text("INSERT INTO items (name) VALUES ('first')"))
            await connection.execute(text("INSERT INTO items (name) SELECT {slow}"))


async def test_next(session):
    await asyncio.sleep(2)
    assert (await session.execute(text("SELECT name FROM items"))).all() == []
"""
SLOW = {"postgresql": "'slow' || pg_sleep(2)", "mysql": "CONCAT('slow', SLEEP(2))"}


@pytest.mark.parametrize(
    ("driver", "isolation"),
    [("asyncmy", "reset"), ("aiomysql", "savepoint"), ("psycopg", "reset"), ("asyncpg", "reset")],
)
def test_a_cancelled_statement_goes_no_further(
    generate_installed: Generate, driver: str, isolation: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    test = CANCEL.format(slow=SLOW[BACKENDS[driver]])
    (project.path / "tests/test_cancel.py").write_text(test)
    assert "5 passed" in project.run("pytest", "tests/test_cancel.py")


LISTEN = {
    "asyncpg": """
    await driver.add_listener("chairs", lambda *message: heard.put_nowait(message[-1]))
    await notify(session)
    assert await asyncio.wait_for(heard.get(), 3) == "sold"
""",
    "psycopg": """
    await driver.execute("LISTEN chairs")
    await driver.commit()
    await notify(session)
    async for message in driver.notifies(timeout=3, stop_after=1):
        heard.put_nowait(message.payload)
    assert heard.get_nowait() == "sold"
    await driver.rollback()
""",
}
NOTIFY = """
import asyncio

import pytest
from sqlalchemy import text


async def notify(session):
    await session.execute(text("SELECT pg_notify('chairs', 'sold')"))
    await session.commit()


@pytest.mark.real_commits
@pytest.mark.parametrize("attempt", range(2))
async def test_notify(engine, session, attempt):
    heard = asyncio.Queue()
    connection = await engine.connect()
    driver = (await connection.get_raw_connection()).driver_connection
{listen}
    assert heard.empty()
    await connection.close()
"""


@pytest.mark.parametrize("isolation", ["savepoint", "reset", "clone"])
@pytest.mark.parametrize("driver", LISTEN)
def test_notifications(generate_installed: Generate, driver: str, isolation: str) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    test = NOTIFY.format(listen=LISTEN[driver])
    (project.path / "tests/test_notify.py").write_text(test)
    assert "2 passed" in project.run("pytest", "tests/test_notify.py")


PAST_SQLALCHEMY = """
import pytest
from sqlalchemy import text


async def execute(engine, statement):
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        {execute}


@pytest.mark.parametrize("attempt", range(2))
async def test_what_nobody_sees(engine, session, attempt):
    await session.execute(text("INSERT INTO audit_entries (action, item_name) VALUES ('a', 'b')"))
    with pytest.raises(Exception, match="(?i)default|null"):
        async with session.begin_nested():
            await session.execute(text("INSERT INTO audit_entries (action) VALUES ('a')"))
    await session.commit()
    await execute(engine, "ALTER TABLE audit_entries ALTER item_name SET DEFAULT 'hey'")
    {large_object}
"""


@pytest.mark.parametrize("driver", ["asyncpg", "asyncmy"])
def test_what_is_altered_past_sqlalchemy(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    is_mysql = BACKENDS[driver] == "mysql"
    execute = (
        "await raw.driver_connection.query(statement)"
        if is_mysql
        else "await raw.driver_connection.execute(statement)"
    )
    large_object = (
        "pass"
        if is_mysql
        else "await session.execute(text(\"SELECT lo_from_bytea(4711, 'x')\"));"
        " await session.commit()"
    )
    test = PAST_SQLALCHEMY.format(execute=execute, large_object=large_object)
    (project.path / "tests/test_past.py").write_text(test)
    assert "2 passed" in project.run("pytest", "tests/test_past.py")


def test_an_ordinary_role(generate_installed: Generate) -> None:
    project = generate_installed(isolation="reset")
    write_tests(project, "postgresql")
    address = create_role(project, require_server("postgresql"))
    project.run("pytest", "tests/test_reset.py", TEST_DATABASE_URL=address)


def create_role(project: GeneratedProject, server: str) -> str:
    """Return an address by which a role connects to `server` that may create databases only."""
    project.run("python", "-c", CREATE_ROLE, server)
    url = urlsplit(server)
    return f"postgresql://loopsafe_tests@{url.hostname}:{url.port}/postgres"


CREATE_ROLE = """
import asyncio, sys
import asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    if not await connection.fetch("SELECT FROM pg_roles WHERE rolname = 'loopsafe_tests'"):
        await connection.execute("CREATE ROLE loopsafe_tests LOGIN CREATEDB")
    await connection.close()

asyncio.run(main())
"""


SYNC = """
import pytest
from my_app.models import Item
from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session

SYNC_DRIVER = {"mysql": "mysql+pymysql", "sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
USES = {
    "mysql": [
        "query('SET @leak = 1')",
        "query('CREATE TRIGGER leak BEFORE INSERT ON items FOR EACH ROW SET NEW.id = 7')",
    ],
    "sqlite": [
        "create_function('leak', 0, int)",
        "execute('CREATE TEMP TABLE leak (id int)')",
        "execute('PRAGMA query_only = ON')",
    ],
    "postgresql": ["execute('CREATE TEMP TABLE leak (id int)').connection.commit()"],
}
SIGHTS = {
    "mysql": ["SELECT @leak", "SELECT trigger_name FROM information_schema.triggers"],
    "sqlite": [
        "SELECT name FROM pragma_table_list WHERE name = 'leak'",
        "SELECT * FROM pragma_query_only",
        "SELECT name FROM pragma_function_list WHERE name = 'leak'",
    ],
    "postgresql": ["SELECT relname FROM pg_class WHERE relname = 'leak'"],
}
engines = []
connections = []


@pytest.mark.parametrize("attempt", range(4))
def test_driver(engine, attempt, seen={}):
    backend = engine.url.get_backend_name()
    if not engines:
        engines.append(create_engine(engine.url.set(drivername=SYNC_DRIVER[backend])))
    with Session(engines[0]) as session:
        assert session.scalars(select(Item)).all() == []
        for sight in SIGHTS[backend]:
            value = session.execute(text(sight)).all()
            assert value == seen.setdefault(sight, value), sight
        session.add(Item(name="chair"))
        session.commit()
    if attempt < 3:
        with engines[0].connect() as connection:
            for use in USES[backend]:
                eval("connection.connection.driver_connection." + use)


@pytest.mark.parametrize("attempt", range(2))
def test_who_does_not_use_it_keeps_the_connection(engine, attempt):
    with Session(engines[0]) as session:
        session.add(Item(name="chair"))
        session.commit()
        connections.append(session.connection().connection.driver_connection.guarded)
    if attempt and engine.url.get_backend_name() != "postgresql":
        assert connections[0] is connections[1]
"""


@pytest.mark.parametrize("driver", ["psycopg", "aiosqlite", "aiomysql"])
def test_the_driver_of_a_sync_engine_is_watched(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    (project.path / "tests/test_sync_driver.py").write_text(SYNC)
    assert "6 passed" in project.run("pytest", "tests/test_sync_driver.py")


REPLACED = """
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text


def restore(path):
    backup = sqlite3.connect(f"{path}.backup")
    with sqlite3.connect(path) as connection:
        connection.backup(backup)
    connection.close()
    backup.execute("INSERT INTO items (name) VALUES ('restored')")
    backup.commit()
    backup.close()
    remove(path)
    os.replace(f"{path}.backup", path)


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("change", [restore, remove, None])
async def test_nothing_is_left(engine, session, change):
    assert (await session.execute(text("SELECT name FROM items"))).all() == []
    await session.close()
    await engine.dispose()
    if change:
        change(engine.url.database)
"""


def test_a_file_that_is_replaced_is_put_back(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset")
    (project.path / "tests/test_replaced.py").write_text(REPLACED)
    assert "3 passed" in project.run("pytest", "tests/test_replaced.py")


READ_ON = """
import sqlite3

from sqlalchemy import text

kept = []


async def test_somebody_reads_on(session, engine):
    kept.append(sqlite3.connect(engine.url.database))
    await session.execute(text("INSERT INTO items (name) VALUES ('a'), ('b')"))
    await session.commit()
    await session.close()
    await engine.dispose()
    kept[0].execute("PRAGMA journal_mode = DELETE")
    reader = kept[0].execute("SELECT name FROM items")
    assert reader.fetchone()
    kept.append(reader)


async def test_next_is_clean(session):
    assert (await session.execute(text("SELECT name FROM items"))).all() == []
    kept[0].close()
"""


def test_a_reader_beyond_the_pools_is_named(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset")
    (project.path / "tests/test_reader.py").write_text(READ_ON)
    output = project.run("pytest", "tests/test_reader.py", exit_code=1)
    assert "LeakError: This test has left a transaction open, not in a pool" in output
    assert "2 passed, 1 error" in output
