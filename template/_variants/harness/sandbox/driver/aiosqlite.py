"""The methods that SQLAlchemy's dialect for aiosqlite calls on a connection, beyond PEP 249."""

from typing import Any

from ..database.server import Server


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.isolation_level = None


async def cancel(connection: Any, _: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    await connection._connection.interrupt()


class DriverConnection:
    """The part of a sandbox's connection that depends on the driver."""

    shared: Any
    is_first: bool
    is_autocommit = False

    @property
    def isolation_level(self) -> str | None:
        """The attribute of sqlite3 that is None in autocommit mode."""
        return None if self.is_autocommit else ""

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self.is_autocommit = level is None

    def create_function(self, *args: Any, **options: Any) -> None:
        """Register a function for the first proxy only: SQLite cannot register it again while a
        statement runs on the shared connection."""
        if self.is_first:
            self.shared.create_function(*args, **options)

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox.

        The dialect sends this one whenever the isolation level changes.
        """
        return statement.startswith("PRAGMA read_uncommitted")
