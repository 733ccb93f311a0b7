"""What SQLAlchemy's dialect for aiosqlite calls on a connection to control its transactions."""

from typing import Any


def set_up(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.isolation_level = None


class TransactionControl:
    """The isolation level of one connection of the sandbox."""

    is_autocommit = False

    @property
    def isolation_level(self) -> str | None:
        """The attribute of sqlite3 that is None in autocommit mode."""
        return None if self.is_autocommit else ""

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        self.is_autocommit = level is None

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` is the dialect's own, and means nothing in the sandbox."""
        return False
