"""Engines beside the application's: of the test's own, or of an application that has several."""

from itertools import product

import pytest

from .combinations import BACKENDS, ISOLATIONS, Combination, sample
from .conftest import Generate, require_server

ENGINES = """
import asyncio

import pytest
from sqlalchemy import create_engine, event, insert, select
from sqlalchemy.ext.asyncio import create_async_engine
from tests.harness.contract.example_app import Note

kept = {}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_one_that_nobody_disposes_of(engine, session, attempt):
    other = kept.setdefault("other", create_async_engine(engine.url))
    async with other.begin() as connection:
        assert (await connection.execute(select(Note))).all() == []
        await connection.execute(insert(Note).values(text="a"))
    assert len((await session.scalars(select(Note))).all()) == 1


async def test_one_with_a_codec(engine):
    other = create_async_engine(engine.url)

    @event.listens_for(other.sync_engine, "connect")
    def register(connection, _):
        if engine.dialect.driver == "asyncpg":
            connection.run_async(
                lambda driver: driver.set_type_codec(
                    "json", schema="pg_catalog", encoder=str, decoder=str
                )
            )

    async def read():
        async with other.connect() as connection:
            await connection.execute(select(Note))

    await asyncio.gather(*(read() for _ in range(6)))


def test_one_of_another_database():
    with create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("SELECT 1")
"""


A_SYNC_ONE = """

@pytest.mark.real_commits
@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_sync_one(engine, session, attempt):
    url = engine.url.set(drivername="{drivername}")
    other = kept.setdefault("sync", create_engine(url))
    with other.begin() as connection:
        assert connection.execute(select(Note)).all() == []
        connection.execute(insert(Note).values(text="a"))
    assert len((await session.scalars(select(Note))).all()) == 1
"""

CREATORS = {
    "asyncpg": "import asyncpg\n\nasync def connect(url):\n    return await asyncpg.connect(url)",
    "aiosqlite": (
        "import aiosqlite\n\nasync def connect(url):\n"
        "    return await aiosqlite.connect(url.removeprefix('sqlite:///'))"
    ),
}


@pytest.mark.parametrize("driver", CREATORS)
def test_an_engine_with_a_creator_is_refused(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, isolation="savepoint")
    database = project.path / "src/my_app/database.py"
    plain = (
        f"make_url(settings.database_url.get_secret_value()).set(drivername={BACKENDS[driver]!r})"
    )
    source = database.read_text()
    made = source.replace("value(), ", "value(), async_creator=lambda: connect(PLAIN), ", 1)
    assert made != source
    header = f"from sqlalchemy import make_url\n{CREATORS[driver]}\n\n\nPLAIN = str({plain})\n"
    database.write_text(made.replace("\nengine = ", f"\n{header}\nengine = ", 1))
    servers = {"TEST_DATABASE_URL": require_server("postgresql")} if driver == "asyncpg" else {}
    output = project.run("pytest", "tests/test_items.py", "-q", exit_code=1, **servers)
    assert "The application's engine opens connections by a `creator` of its own" in output


SYNC = {
    "psycopg": "postgresql+psycopg",
    "aiomysql": "mysql+pymysql",
    "aiosqlite": "sqlite+pysqlite",
}
"""The drivers that bring a sync one along."""


@pytest.mark.parametrize(
    ("driver", "isolation"),
    sample(
        [
            (driver, isolation)
            for driver, isolation in product(BACKENDS, ISOLATIONS)
            if Combination(driver, isolation).is_offered
        ]
    ),
)
def test_engines(generate_installed: Generate, driver: str, isolation: str) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    more = A_SYNC_ONE.format(drivername=SYNC[driver]) if driver in SYNC else ""
    (project.path / "tests/test_engines.py").write_text(ENGINES + more)
    project.run("pytest", "tests/test_engines.py")
