"""SQLite: a folder in place of a server, and making and dropping databases in it."""

import asyncio
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final
from weakref import WeakSet

from sqlalchemy import URL, Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from ..answers import DRIVER
from ..errors import HarnessError

FAILURES: Final = (HarnessError, OSError, sqlite3.Error)
"""What making and dropping databases may raise."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait for another run that prepares the database."""
CLOSE_TIMEOUT: Final = 0.1
"""Seconds that closing a connection may wait for its statement."""
OPENED: Final = WeakSet[Any]()
"""The driver's own connections."""
DRIVER_CONNECTION: Final = "tests.harness: driver's connection"
MARK: Final = 0x7E575  # the "application id" in the header of every database that is made here


@event.listens_for(Engine, "do_connect")
def note_dialect(dialect: Dialect, entry: ConnectionPoolEntry, *_: object) -> None:
    """Remember whether it is SQLite that is connected to."""
    entry.info["tests.harness: is SQLite"] = dialect.name == "sqlite"


@event.listens_for(Engine, "connect")
def do_without_fsync(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Be quick: a database of tests need not survive a power cut."""
    if entry.info.get("tests.harness: is SQLite"):
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.close()
        if not hasattr(connection, "sandbox"):  # to close one of a sandbox's closes nothing
            entry.info[DRIVER_CONNECTION] = entry.driver_connection
        with suppress(TypeError):  # a sync engine's: Ctrl-C ends its statements by itself
            OPENED.add(entry.driver_connection)


@event.listens_for(Pool, "invalidate")
@event.listens_for(Pool, "close")
def cancel_statement(_: DBAPIConnection, entry: ConnectionPoolEntry, *__: object) -> None:
    """Cancel what still runs on a connection that is closed, which waits for that.

    Not at once: while a cursor has rows to read, an interrupt meets the ROLLBACK that follows.
    https://www.sqlite.org/c3ref/interrupt.html
    """
    if DRIVER_CONNECTION in entry.info:
        connection = entry.info[DRIVER_CONNECTION]
        try:
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, interrupt, connection)
        except RuntimeError:
            interrupt(connection)


def interrupt(connection: Any) -> None:
    """Cancel what runs on the driver's own `connection`, if it is open."""
    with suppress(ValueError, sqlite3.ProgrammingError):
        getattr(connection, "_conn", connection).interrupt()


@contextmanager
def server_url() -> Iterator[URL]:
    """Yield the address of a folder for databases, which only this user can write to.

    Raises:
        HarnessError: TEST_DATABASE_URL asks for a server, or somebody else has that folder.
    """
    if os.environ.get("TEST_DATABASE_URL"):
        raise HarnessError(
            "TEST_DATABASE_URL is set, but these tests run on SQLite, in files of their own;"
            " unset it"
        )
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir(), f"tests-harness-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or user not in (found.st_uid, os.environ.get("USERNAME")):
        raise HarnessError(f"{folder} must be a folder of your own; remove it.")
    yield URL.create(DRIVER, database=str(folder))


class Server:
    """A folder, and the databases in it that the harness makes."""

    made: ClassVar[set[str]] = set()  # by any instance of this process

    def __init__(self, url: URL, key: str, process: str) -> None:
        """Use the folder at `url`.

        Args:
            url: the folder's address.
            key: what begins the names of this project's databases.
            process: a name of this process's own; while it holds the lock of it, it is alive.
        """
        self.url = url
        self.version = f"SQLite {sqlite3.sqlite_version}"
        self._process = process
        self._alive = self._locked(process)
        for suffix in ("lock", "unfinished"):  # of processes that were killed as they began
            for path in Path(str(url.database)).glob(f"test_{key}_????????.{suffix}"):
                if not self.is_alive(path.stem):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        self._alive.close()
        self.path(self._process, "lock").unlink(missing_ok=True)

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=str(self.path(name)))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep other processes out, as long as they ask for a lock of this `name`."""
        with closing(self._locked(name)):
            yield

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        files = Path(str(self.url.database)).glob(f"{prefix}*.db")
        return [file.stem for file in sorted(files, key=os.path.getmtime, reverse=True)]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name holds its lock."""
        try:
            self._locked(process, timeout=0).close()
        except sqlite3.OperationalError:
            return True
        self.path(process, "lock").unlink(missing_ok=True)
        return False

    def cancel_statements(self, _: str) -> None:
        """Cancel what runs on any connection."""
        for connection in OPENED:
            interrupt(connection)

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            FileExistsError: it exists.
        """
        self.path(name).touch(mode=0o600, exist_ok=False)
        self.made.add(name)
        with closing(sqlite3.connect(self.path(name))) as connection:
            connection.execute(f"PRAGMA application_id = {MARK}")

    def drop(self, name: str) -> None:
        """Remove the file of the database `name`, and those of its write-ahead log.

        Raises:
            HarnessError: it is not the harness's.
        """
        if name not in self.made and not self._is_own(name):
            raise HarnessError(
                f"The file {self.path(name)} is in the way, and has not been made by these tests;"
                " they do not touch it. Move it."
            )
        for suffix in ("db", "db-wal", "db-shm", "unfinished"):
            self.path(name, suffix).unlink(missing_ok=True)

    def path(self, name: str, suffix: str = "db") -> Path:
        """Return a file of the database `name`."""
        return Path(str(self.url.database), f"{name}.{suffix}")

    def _locked(self, name: str, timeout: int = PREPARE_TIMEOUT) -> sqlite3.Connection:
        """Return a connection that holds a lock, which ends with it or with the process."""
        path = self.path(name, "lock")
        while True:
            connection = sqlite3.connect(
                path, timeout=timeout, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                connection.close()
                raise
            if path.exists():
                return connection
            connection.close()  # another process has just removed it, as that of a dead one

    def _is_own(self, name: str) -> bool:
        """Tell whether tests have made the database `name`; a link they have not."""
        path = self.path(name)
        if path.is_symlink():
            return False
        with path.open("rb") as file:
            header = file.read(100)
        # https://www.sqlite.org/fileformat.html#application_id
        return not header or header[68:72] == MARK.to_bytes(4, "big")  # none if just created
