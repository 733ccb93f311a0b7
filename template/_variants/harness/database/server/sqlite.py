"""SQLite: a folder in place of a server, and creating and dropping databases in it."""

import asyncio
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import URL, Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from ..answers import DRIVER
from ..errors import HarnessError

LOCK_FAILURE: Final = "database is locked"
"""What the database says when a statement has waited too long for the transaction of another."""
FAILURES: Final = (HarnessError, OSError, sqlite3.Error)
"""The errors of creating and dropping databases."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait while another run prepares the database."""
CLOSE_TIMEOUT: Final = 0.1
"""Seconds that closing a connection waits for its statement before that is cancelled."""
DRIVER_CONNECTIONS: Final = WeakSet[Any]()
"""The open connections of the driver."""
DRIVER_CONNECTION: Final = "tests.harness: driver's connection"
MARK: Final = 0x7E575
"""The "application id" in the header of every database that the harness creates."""


@event.listens_for(Engine, "do_connect")
def note_dialect(dialect: Dialect, entry: ConnectionPoolEntry, *_: object) -> None:
    """Remember whether the connection will be one to SQLite."""
    entry.info["tests.harness: is SQLite"] = dialect.name == "sqlite"


@event.listens_for(Engine, "connect")
def disable_fsync(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Save time: a test database need not survive a power cut."""
    if entry.info.get("tests.harness: is SQLite"):
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.close()
        if not hasattr(connection, "sandbox"):  # closing a sandbox's proxy closes nothing
            entry.info[DRIVER_CONNECTION] = entry.driver_connection
        with suppress(TypeError):  # a sync engine's, whose statements Ctrl-C ends
            DRIVER_CONNECTIONS.add(entry.driver_connection)


@event.listens_for(Pool, "invalidate")
@event.listens_for(Pool, "close")
def cancel_statement(_: DBAPIConnection, entry: ConnectionPoolEntry, *__: object) -> None:
    """Cancel the statement of a connection that is closed, since closing waits for its end.

    Not at once: while a cursor has unread rows, the interrupt would hit the ROLLBACK that follows.
    https://www.sqlite.org/c3ref/interrupt.html
    """
    if DRIVER_CONNECTION in entry.info:
        connection = entry.info[DRIVER_CONNECTION]
        try:
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, interrupt, connection)
        except RuntimeError:
            interrupt(connection)


def interrupt(connection: Any) -> None:
    """Cancel the statement of the driver's `connection`, if it is open."""
    with suppress(ValueError, sqlite3.ProgrammingError):
        getattr(connection, "_conn", connection).interrupt()


@contextmanager
def server_url() -> Iterator[URL]:
    """Yield the address of a folder for databases, which only this user can write to.

    Raises:
        HarnessError: TEST_DATABASE_URL asks for a server, or the folder belongs to somebody else.
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
    """A folder, and the databases in it that the harness creates."""

    def __init__(self, url: URL, package: str, process: str) -> None:
        """Use the folder at `url`.

        Args:
            url: the folder's address.
            package: the application's, which the names of this project's databases contain.
            process: the name of this process, which holds a lock of that name while it is alive.
        """
        self.url = url
        self.created = set[str]()  # names of databases that may be dropped without a look inside
        self.version = f"SQLite {sqlite3.sqlite_version}"
        self._process = process
        self._lock = self._take_lock(process)
        for suffix in ("lock", "unfinished"):  # of processes that were killed early
            for path in Path(str(url.database)).glob(f"test_{package}_????????.{suffix}"):
                if not self.is_alive(path.stem):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock of this process."""
        self._lock.close()
        self.path(self._process, "lock").unlink(missing_ok=True)

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=str(self.path(name)))

    def shell(self, name: str) -> str:
        """Return the command that opens the database `name` on a terminal."""
        return f"sqlite3 {self.path(name)}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name`, which one process can hold at a time."""
        with closing(self._take_lock(name)):
            yield

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        files = Path(str(self.url.database)).glob(f"{prefix}*.db")
        return [file.stem for file in sorted(files, key=os.path.getmtime, reverse=True)]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name holds its lock."""
        try:
            self._take_lock(process, timeout=0).close()
        except sqlite3.OperationalError:
            return True
        self.path(process, "lock").unlink(missing_ok=True)
        return False

    def cancel_statements(self, _: str) -> None:
        """Cancel the statements of all connections."""
        for connection in DRIVER_CONNECTIONS:
            interrupt(connection)

    def lock_waits(self, _: str) -> Sequence[Any]:
        """Return nothing: a statement can only wait for a transaction that writes."""
        return []

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            FileExistsError: it exists.
        """
        self.path(name).touch(mode=0o600, exist_ok=False)
        self.created.add(name)
        with closing(sqlite3.connect(self.path(name))) as connection:
            connection.execute(f"PRAGMA application_id = {MARK}")

    def drop(self, name: str) -> None:
        """Remove the file of the database `name`, and those of its write-ahead log.

        Raises:
            HarnessError: the harness has not created it.
        """
        if name not in self.created and not self._is_marked_or_new(name):
            raise HarnessError(
                f"The file {self.path(name)} is in the way. These tests have not created it, so"
                " they do not touch it. Move it."
            )
        for connection in [*DRIVER_CONNECTIONS]:
            if not getattr(connection, "_running", True):  # it closes, which removes such files
                connection._thread.join(CLOSE_TIMEOUT)
        for suffix in ("db", "db-wal", "db-shm", "unfinished"):
            self.path(name, suffix).unlink(missing_ok=True)

    def path(self, name: str, suffix: str = "db") -> Path:
        """Return a file of the database `name`."""
        return Path(str(self.url.database), f"{name}.{suffix}")

    def _take_lock(self, name: str, timeout: int = PREPARE_TIMEOUT) -> sqlite3.Connection:
        """Return a connection that holds the lock `name` until it is closed or the process ends."""
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
            connection.close()  # another process has just removed the file, as a dead process's

    def _is_marked_or_new(self, name: str) -> bool:
        """Tell whether the database `name` has the mark, or was just created; never for a link."""
        path = self.path(name)
        if path.is_symlink():
            return False
        with path.open("rb") as file:
            header = file.read(100)
        # https://www.sqlite.org/fileformat.html#application_id
        return not header or header[68:72] == MARK.to_bytes(4, "big")  # empty if just created
