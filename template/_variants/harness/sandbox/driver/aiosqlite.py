"""What is particular to connections of aiosqlite, as SQLAlchemy's dialect uses them."""

import re
from collections.abc import Callable
from typing import Any, Final

from ..database.server import Server, interrupt
from .connection import SandboxConnection

RAW_BEGIN: Final = re.compile(r"(\s|--[^\n]*\n|/\*.*?\*/)*BEGIN\b", re.IGNORECASE | re.DOTALL)


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.isolation_level = None


def cancel(connection: Any, _: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    interrupt(connection._connection)


class DriverProxy(SandboxConnection):
    """A proxy with what the dialect uses beyond PEP 249, and with transactions by a raw BEGIN."""

    _isolation_level: str | None = ""
    _has_begun = False

    @property
    def isolation_level(self) -> str | None:
        """The attribute of sqlite3 that is None in autocommit mode."""
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self._isolation_level = level
        self.is_autocommit = level is None and not self._has_begun

    def create_function(self, *args: Any, **options: Any) -> None:
        """Register a function for the first proxy only: SQLite cannot register it again while a
        statement runs on the shared connection."""
        if self.is_first:
            self.shared.create_function(*args, **options)

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox.

        A pool tests a connection by the one; the other changes the isolation level.
        """
        is_ping = statement == "SELECT 1" and not self.is_checked_out
        return is_ping or statement.startswith("PRAGMA read_uncommitted")

    def run_statement(self, run: Callable[[], Any], statement: str, parameters: Any) -> Any:
        """Execute `statement`, but not the BEGIN of a transaction: the sandbox has begun already.

        Listeners for "begin" send it in autocommit mode.
        """
        is_begun = self._has_begun or self.sandbox.writer is self or not self.is_set_up
        if RAW_BEGIN.match(statement) and not is_begun:
            run = self._begin
        return super().run_statement(run, statement, parameters)

    def _begin(self) -> None:
        self._has_begun, self.is_autocommit = True, False

    def end_transaction(self, *, keeps: bool) -> None:
        """End the transaction."""
        try:
            super().end_transaction(keeps=keeps)
        finally:
            self._has_begun, self.is_autocommit = False, self._isolation_level is None
