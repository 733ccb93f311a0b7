"""MariaDB or MySQL: the server that tests use, and making and dropping databases on it."""

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

CONNECT_TIMEOUT = 10  # seconds
DEFAULT_SERVER = "mysql://root@127.0.0.1:3306"


@contextmanager
def server() -> Iterator[URL]:
    """Yield the address of the server in TEST_DATABASE_URL, or of the local one.

    Raises:
        HarnessError: the variable does not name a MariaDB or MySQL.
    """
    try:
        url = make_url(os.environ.get("TEST_DATABASE_URL") or DEFAULT_SERVER)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("mysql", "mariadb"):
        raise HarnessError(
            "TEST_DATABASE_URL is not the address of a MariaDB or MySQL server;"
            " write mysql://user:password@host:3306"
        )
    yield url.set(drivername=DRIVER, database="")


def database_url(server: URL, name: str) -> URL:
    """Return the address of the database `name` on `server`."""
    return server.set(database=name)


async def version(server: URL) -> str:
    """Return name and version of the server, such as "MariaDB 11.8.3".

    Raises:
        HarnessError: the server cannot be reached.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT), administration(server) as connection:
            number: str = await connection.scalar(text("SELECT VERSION()"))
    except (SQLAlchemyError, OSError) as error:
        raise HarnessError(
            f"No MariaDB or MySQL server for tests at {server!r}: {error or 'no answer'}\n"
            "Start it, or set TEST_DATABASE_URL=mysql://user:password@host:3306"
        ) from error
    product = "MariaDB" if "mariadb" in number.lower() else "MySQL"
    return f"{product} {number.partition('-')[0]}"


async def create(url: URL) -> None:
    """Create the database that `url` names.

    Raises:
        sqlalchemy.exc.ProgrammingError: it exists.
    """
    async with administration(url) as connection:
        await connection.execute(text(f"CREATE DATABASE `{url.database}` CHARACTER SET utf8mb4"))


async def drop(url: URL) -> None:
    """Drop the database that `url` names."""
    async with administration(url) as connection:
        await connection.execute(text(f"DROP DATABASE IF EXISTS `{url.database}`"))


@asynccontextmanager
async def administration(url: URL) -> AsyncIterator[AsyncConnection]:
    """Connect to the server of `url`, to no database in particular."""
    engine = create_async_engine(url.set(database=""), poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
