"""The methods that SQLAlchemy's dialect for asyncpg calls on a connection, beyond PEP 249."""

from typing import Any

from ..database.server import Server
from .levels import check_isolation_level, refuse_read_only


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.autocommit = True


async def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"SELECT pg_cancel_backend({connection._connection.get_server_pid()})")


class DriverConnection:
    """The part of a sandbox's connection that depends on the driver."""

    is_autocommit = False

    @property
    def autocommit(self) -> bool:
        """True if each statement is a transaction."""
        return self.is_autocommit

    def set_isolation_level(self, level: str) -> None:
        """Switch autocommit on or off; the sandbox shows READ COMMITTED."""
        check_isolation_level(level, ("autocommit", "read_committed"))
        self.is_autocommit = level == "autocommit"

    @property
    def readonly(self) -> bool:
        """False: all transactions may write."""
        return False

    @readonly.setter
    def readonly(self, value: bool) -> None:
        refuse_read_only(value=value)

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox."""
        return False
