"""SQLite: a folder in place of a server, and making and dropping databases in it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from .answers import DRIVER
from .errors import HarnessError


@event.listens_for(Engine, "connect")
def do_without_fsync(connection: DBAPIConnection, _: object) -> None:
    """Be quick: a database of tests need not survive a power cut."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()


@contextmanager
def server() -> Iterator[URL]:
    """Yield the address of a new folder for databases, removed at the end.

    Raises:
        HarnessError: TEST_DATABASE_URL asks for a server.
    """
    if os.environ.get("TEST_DATABASE_URL"):
        raise HarnessError(
            "TEST_DATABASE_URL is set, but these tests run on SQLite, in files of their own;"
            " unset it"
        )
    with TemporaryDirectory(prefix="tests-") as folder:
        yield URL.create(DRIVER, database=folder)


def database_url(server: URL, name: str) -> URL:
    """Return the address of the database `name` in the folder `server`."""
    return server.set(database=f"{server.database}/{name}.db")


def version(server: URL) -> str:
    """Return name and version of the library, such as "SQLite 3.46.1"."""
    return f"SQLite {sqlite3.sqlite_version}"


def create(server: URL, name: str) -> None:
    """Create the file of the database `name`.

    Raises:
        FileExistsError: it exists.
    """
    path(server, name).touch(exist_ok=False)


def drop(server: URL, name: str) -> None:
    """Remove the file of the database `name`, and those of its write-ahead log."""
    for suffix in (".db", ".db-wal", ".db-shm"):
        path(server, name).with_suffix(suffix).unlink(missing_ok=True)


def empty(server: URL, name: str) -> None:
    """Drop all that is in the database `name`, by making it anew."""
    drop(server, name)
    create(server, name)


def path(server: URL, name: str) -> Path:
    """Return the file of the database `name`."""
    return Path(str(database_url(server, name).database))
