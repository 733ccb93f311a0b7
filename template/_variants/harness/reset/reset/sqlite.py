"""Returns the database to its original state, by copying it back.

A copy in memory has all pages of the file, and so everything: rows, counters, tables, triggers. It
is copied back by SQLite's backup, and only if the file was written to.
"""

import sqlite3
import time
from functools import partial
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
        self.is_renewed = False  # which undoes more than `run` is to undo, if levels are kept
        self._seen = 0
        self._copy = sqlite3.connect(":memory:")
        self._open()
        self._connection.backup(self._copy)

    def run(self) -> bool:
        """Return the database to its original state.

        Returns:
            False: connections may stay open, since the file is the same.

        Raises:
            LeakError: a transaction was open. The database is reset, in a new file.
        """
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
                f" process, or another process, has locked {self._database.url.database}."
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
            str(self._database.url.database), timeout=TRANSACTION_TIMEOUT, isolation_level=None
        )
        self._connection.execute("PRAGMA synchronous = OFF")
        self._seen = self._version()

    def _version(self) -> int:
        """Return a number that changes when another connection writes to the file."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def give_up(deadline: float, status: int, *_: object) -> None:
    """End a backup that waits for a reader, which has no timeout of its own.

    Raises:
        sqlite3.OperationalError: it still waits at the `deadline` of the monotonic clock.
    """
    is_waiting = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if is_waiting and time.monotonic() > deadline:
        raise sqlite3.OperationalError("database is locked")
