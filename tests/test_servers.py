"""Which server tests use, and what is said when there is none."""

import re

import pytest

from .combinations import BACKENDS, ISOLATIONS
from .conftest import Generate, require_server

USAGE_ERROR = 4


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("driver", [d for d, backend in BACKENDS.items() if backend != "sqlite"])
def test_another_server(generate_installed: Generate, driver: str, isolation: str) -> None:
    url = require_server(BACKENDS[driver])
    project = generate_installed(driver=driver, isolation=isolation)
    project.run("pytest", TEST_DATABASE_URL=url)


@pytest.mark.parametrize(
    ("driver", "url", "message"),
    [
        (
            "asyncpg",
            "postgresql://me:secret@127.0.0.1:1/postgres",
            r"ERROR: No PostgreSQL server for tests at postgresql\+asyncpg://me:\*\*\*@127.0.0.1:1",
        ),
        (
            "psycopg",
            "postgresql://me:secret@127.0.0.1:1/postgres",
            r"ERROR: No PostgreSQL server for tests at postgresql\+psycopg://me:\*\*\*@127.0.0.1:1",
        ),
        (
            "asyncmy",
            "mysql://me:secret@127.0.0.1:1",
            r"ERROR: No MariaDB or MySQL server for tests at mysql\+asyncmy://me:\*\*\*@127.0.0.1",
        ),
        (
            "aiomysql",
            "mysql://me:secret@127.0.0.1:1",
            r"ERROR: No MariaDB or MySQL server for tests at mysql\+aiomysql://me:\*\*\*@127.0.0.1",
        ),
        ("asyncpg", "mysql://127.0.0.1", "not the address of a PostgreSQL server"),
        ("asyncmy", "postgresql://127.0.0.1", "not the address of a MariaDB or MySQL server"),
        ("asyncpg", "nonsense", "not the address of a PostgreSQL server"),
        ("aiosqlite", "sqlite:///some.db", "these tests run on SQLite"),
    ],
)
def test_no_server(generate_installed: Generate, driver: str, url: str, message: str) -> None:
    project = generate_installed(driver=driver)
    output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=url)
    assert re.search(message, output)
    assert output.count("ERROR: ") == 1
    assert "Traceback" not in output
    assert "secret" not in output


@pytest.mark.parametrize("driver", ["asyncpg", "aiomysql"])
def test_no_database_is_left(generate_installed: Generate, driver: str) -> None:
    url = require_server(BACKENDS[driver])
    project = generate_installed(driver=driver, package_name="leaves_nothing")
    (project.path / "tests/test_failing.py").write_text(
        "async def test_fails(session): raise KeyboardInterrupt"
    )
    project.run("pytest", exit_code=pytest.ExitCode.INTERRUPTED, TEST_DATABASE_URL=url)
    listing = project.run("python", "-c", LIST_DATABASES, url, driver)
    assert "postgres" in listing or "mysql" in listing
    assert "leaves_nothing" not in listing


LIST_DATABASES = """
import asyncio, sys
from sqlalchemy import inspect, make_url
from sqlalchemy.ext.asyncio import create_async_engine

QUERIES = {"postgresql": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}

async def main():
    url = make_url(sys.argv[1])
    engine = create_async_engine(url.set(drivername=f"{url.drivername}+{sys.argv[2]}"))
    async with engine.connect() as connection:
        query = QUERIES[url.drivername]
        print((await connection.exec_driver_sql(query)).scalars().all())
    await engine.dispose()

asyncio.run(main())
"""
