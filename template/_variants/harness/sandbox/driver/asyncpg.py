"""What is particular to connections of asyncpg, as SQLAlchemy's dialect uses them."""

import asyncio
from typing import Any

from sqlalchemy.util import await_only

from ..database.server import Server
from ..errors import TransactionControlError
from .connection import ADVICE, SandboxConnection


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.autocommit = True


def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"SELECT pg_cancel_backend({connection._connection.get_server_pid()})")


class DriverProxy(SandboxConnection):
    """A proxy with the methods that the dialect calls beyond PEP 249."""

    @property
    def autocommit(self) -> bool:
        """True if autocommit is on."""
        return self.is_autocommit

    def set_isolation_level(self, level: str) -> None:
        """Switch autocommit on or off.

        Raises:
            TransactionControlError: it is another level than the one that the sandbox shows.
        """
        if level not in ("autocommit", "read_committed"):
            raise TransactionControlError(
                f"The sandbox shows READ COMMITTED, not {level}, since all its transactions share"
                f" one connection. {ADVICE}"
            )
        self.is_autocommit = level == "autocommit"

    @property
    def readonly(self) -> bool:
        """False: all transactions may write."""
        return False

    @readonly.setter
    def readonly(self, value: bool) -> None:
        if value:
            raise TransactionControlError(
                "The sandbox cannot show a read-only transaction, since all its transactions are"
                f" one. {ADVICE}"
            )

    def ping(self) -> None:
        """Suspend the task as a ping does; a lost connection would end the test anyway."""
        await_only(asyncio.sleep(0))
