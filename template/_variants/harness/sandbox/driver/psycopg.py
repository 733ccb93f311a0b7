"""The methods that SQLAlchemy's dialect for psycopg calls on a connection, beyond PEP 249."""

from typing import Any

from psycopg import IsolationLevel

from ..database.server import Server
from .levels import check_isolation_level, refuse_read_only


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.set_autocommit(True)


async def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"SELECT pg_cancel_backend({connection._connection.info.backend_pid})")


class DriverConnection:
    """The part of a sandbox's connection that depends on the driver."""

    is_autocommit = False

    @property
    def autocommit(self) -> bool:
        """True if each statement is a transaction."""
        return self.is_autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.is_autocommit = value

    def set_autocommit(self, value: bool) -> None:
        """Switch autocommit on or off."""
        self.is_autocommit = value

    def set_isolation_level(self, level: IsolationLevel | None) -> None:
        """Accept only READ COMMITTED, which the sandbox shows."""
        check_isolation_level(level, (None, IsolationLevel.READ_COMMITTED))

    def set_read_only(self, value: bool) -> None:
        """Accept only transactions that may write."""
        refuse_read_only(value=value)

    def set_deferrable(self, value: bool) -> None:
        """Do nothing: it affects only read-only transactions."""

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox."""
        return False
