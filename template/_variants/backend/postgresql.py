"""PostgreSQL: the server that tests use, and making and dropping databases on it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from .answers import DRIVER
from .errors import HarnessError
from .server import postgresql

CONNECT_TIMEOUT = 10  # seconds


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


async def version(server: URL) -> str:
    """Return name and version of the server, such as "PostgreSQL 18.6".

    Raises:
        HarnessError: the server cannot be reached.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT), administration(server) as connection:
            number: str = await connection.scalar(text("SHOW server_version"))
    except (SQLAlchemyError, OSError) as error:
        raise HarnessError(
            f"No PostgreSQL server for tests at {server!r}: {error or 'no answer'}\n"
            "Start it, set TEST_DATABASE_URL to another one, or unset the variable:"
            " the tests then start a server of their own."
        ) from error
    return f"PostgreSQL {number.split()[0]}"


async def create(url: URL) -> None:
    """Create the database that `url` names.

    Raises:
        sqlalchemy.exc.ProgrammingError: it exists.
    """
    async with administration(url) as connection:
        await connection.execute(text(f'CREATE DATABASE "{url.database}"'))


async def drop(url: URL) -> None:
    """Drop the database that `url` names, with whatever is still connected to it."""
    async with administration(url) as connection:
        await connection.execute(text(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)'))


@asynccontextmanager
async def administration(url: URL) -> AsyncIterator[AsyncConnection]:
    """Connect to the server of `url`, outside of transactions, where databases are made."""
    engine = create_async_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    async with engine.connect() as connection:
        yield connection
