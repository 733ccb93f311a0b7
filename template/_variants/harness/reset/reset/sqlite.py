"""Returns the database to its original state, by copying it back.

A copy in memory has all pages of the file, and so everything: rows, counters, tables, triggers. It
is copied back by SQLite's backup, and only if the file was written to.
"""

import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from ..database.lifecycle import Database
from ..database.prepared import renew
from ..errors import LeakError

TRANSACTION_TIMEOUT: Final = 3
"""Seconds that a transaction may go on after its test, such as that of a connection just closed."""


class Reset:
    """Returns a database to its original state after each test."""

    def __init__(self, database: Database) -> None:
        """Record the original state of `database`, before any test."""
        self._database = database
        self._path = Path(str(database.url.database))
        self.is_renewed = False  # which undoes more than `run` is to undo, if levels are kept
        self._seen = 0
        self._copy = sqlite3.connect(":memory:")
        self._open()
        self._connection.backup(self._copy)

    def run(self) -> bool:
        """Return the database to its original state.

        Returns:
            Whether the file is another: somebody has replaced or deleted it, as a restored backup
            does. If not, connections may stay open.

        Raises:
            LeakError: a transaction was open. The database is reset, in a new file.
        """
        if file_number(self._path) != self._file_number:
            self.renew()
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE").connection.rollback()
            version = self._version()
            if version != self._seen:  # what this connection writes does not change it
                deadline = time.monotonic() + TRANSACTION_TIMEOUT
                self._copy.backup(self._connection, progress=partial(give_up, deadline))
                self._seen = version
        except sqlite3.OperationalError as error:
            self.renew()
            raise LeakError(
                "This test has left a transaction open, not in a pool: another connection of this"
                f" process, or another process, has locked {self._path}."
            ) from error
        return False

    def renew(self) -> None:
        """Create the database again, in a new file."""
        self._connection.close()
        renew(self._database)
        self._open()
        self.is_renewed = True

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
        self._copy.close()

    def _open(self) -> None:
        self._connection = sqlite3.connect(
            self._path, timeout=TRANSACTION_TIMEOUT, isolation_level=None
        )
        self._file_number = file_number(self._path)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._seen = self._version()

    def _version(self) -> int:
        """Return a number that changes when another connection writes to the file."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def file_number(path: Path) -> int | None:
    """Return the number of the file; None if there is none."""
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def give_up(deadline: float, status: int, *_: object) -> None:
    """End a backup that waits for a reader, which has no timeout of its own.

    Raises:
        sqlite3.OperationalError: it still waits at the `deadline` of the monotonic clock.
    """
    is_waiting = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if is_waiting and time.monotonic() > deadline:
        raise sqlite3.OperationalError("database is locked")
