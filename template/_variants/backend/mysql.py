"""MariaDB or MySQL: the server that tests use, and making and dropping databases on it.

Nothing here may be called where an event loop runs.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import URL, Engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from .answers import DRIVER
from .errors import HarnessError

DEFAULT_SERVER: Final = "mysql://root@127.0.0.1:3306"
PROCESSES: Final = "SELECT id FROM information_schema.processlist WHERE db = '{name}'"
TIME_LIMIT: Final = 30  # seconds, for any statement here, connecting included
LOCK_LIMIT: Final = 5  # seconds that a statement of a test waits for a lock


@event.listens_for(Engine, "connect")
def limit_lock_waits(connection: DBAPIConnection, _: object) -> None:
    """See to it that a test that waits for a lock of its own gets an error, not a hang."""
    cursor = connection.cursor()
    cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_LIMIT}")
    cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_LIMIT}")
    cursor.close()


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


def version(server: URL) -> str:
    """Return name and version of the server, such as "MariaDB 11.8.3".

    Raises:
        HarnessError: the server cannot be reached.
    """
    try:
        (number,) = asyncio.run(execute(server, "SELECT VERSION()"))
    except Exception as error:  # of SQLAlchemy, the driver or the system
        raise HarnessError(
            f"No MariaDB or MySQL server for tests at {server!r}: {error or 'no answer'}\n"
            "Start it, or set TEST_DATABASE_URL=mysql://user:password@host:3306"
        ) from error
    product = "MariaDB" if "mariadb" in number.lower() else "MySQL"
    return f"{product} {number.partition('-')[0]}"


def create(server: URL, name: str) -> None:
    """Create the database `name`.

    Raises:
        sqlalchemy.exc.ProgrammingError: it exists.
    """
    asyncio.run(execute(server, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4"))


def drop(server: URL, name: str) -> None:
    """Drop the database `name`."""
    asyncio.run(execute(server, f"DROP DATABASE IF EXISTS `{name}`"))


def empty(server: URL, name: str) -> None:
    """Drop all that is in the database `name`, by making it anew."""
    for process in asyncio.run(execute(server, PROCESSES.format(name=name))):
        with suppress(SQLAlchemyError):  # it is gone already
            asyncio.run(execute(server, f"KILL {process}"))
    drop(server, name)
    create(server, name)


async def execute(url: URL, statement: str) -> Sequence[Any]:
    """Execute `statement`; return the first column of its rows."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with asyncio.timeout(TIME_LIMIT), engine.connect() as connection:
        result = await connection.execute(text(statement))
        return result.scalars().all() if result.returns_rows else []
