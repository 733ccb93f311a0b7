"""PostgreSQL: the server that tests use, and making and dropping databases on it.

Nothing here may be called where an event loop runs.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from .answers import DRIVER
from .errors import HarnessError
from .server import postgresql

TIME_LIMIT: Final = 30  # seconds, for any statement here, connecting included
LOCK_LIMIT: Final = 5  # seconds that a statement of a test waits for a lock

DROP_ALL_SCHEMAS: Final = """
DO $$
DECLARE
    name text;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
END $$
"""


@contextmanager
def server() -> Iterator[URL]:
    """Yield the address of the server in TEST_DATABASE_URL, or of one that is started here.

    Raises:
        HarnessError: there is no server, or the variable does not name a PostgreSQL.
    """
    if address := os.environ.get("TEST_DATABASE_URL"):
        try:
            url = make_url(address)
        except ArgumentError:
            url = None
        if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
            raise HarnessError(
                "TEST_DATABASE_URL is not the address of a PostgreSQL server;"
                " write postgresql://user:password@host:5432/postgres"
            )
        yield url.set(drivername=DRIVER, database=url.database or "postgres")
    else:
        with postgresql() as url:
            yield url.set(drivername=DRIVER)


def database_url(server: URL, name: str) -> URL:
    """Return the address of the database `name` on `server`."""
    return server.set(database=name)


def version(server: URL) -> str:
    """Return name and version of the server, such as "PostgreSQL 18.6".

    Raises:
        HarnessError: the server cannot be reached.
    """
    try:
        (number,) = asyncio.run(execute(server, "SHOW server_version"))
    except Exception as error:  # of SQLAlchemy, the driver or the system
        raise HarnessError(
            f"No PostgreSQL server for tests at {server!r}: {error or 'no answer'}\n"
            "Start it, set TEST_DATABASE_URL to another one, or unset the variable:"
            " the tests then start a server of their own."
        ) from error
    return f"PostgreSQL {number.split()[0]}"


def create(server: URL, name: str) -> None:
    """Create the database `name`.

    Raises:
        sqlalchemy.exc.ProgrammingError: it exists.
    """
    asyncio.run(execute(server, f'CREATE DATABASE "{name}"'))
    # A test that waits for a lock of its own gets an error, not a hang.
    asyncio.run(execute(server, f"ALTER DATABASE \"{name}\" SET lock_timeout = '{LOCK_LIMIT}s'"))


def drop(server: URL, name: str) -> None:
    """Drop the database `name`, whoever is still connected to it."""
    asyncio.run(execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


def empty(server: URL, name: str) -> None:
    """Drop all that is in the database `name`; quicker than to make it anew."""
    asyncio.run(execute(server.set(database=name), DROP_ALL_SCHEMAS))


async def execute(url: URL, statement: str) -> Sequence[Any]:
    """Execute `statement` outside of transactions; return the first column of its rows."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with asyncio.timeout(TIME_LIMIT), engine.connect() as connection:
        result = await connection.execute(text(statement))
        return result.scalars().all() if result.returns_rows else []
