"""What is particular to connections of psycopg, as SQLAlchemy's dialect uses them."""

from typing import Any

from psycopg import IsolationLevel

from ..database.server import Server
from ..errors import TransactionControlError
from .connection import ADVICE, SandboxConnection


def prepare_shared(connection: Any) -> None:
    """Leave BEGIN, COMMIT and ROLLBACK of the shared connection to the sandbox."""
    connection.set_autocommit(True)


def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"SELECT pg_cancel_backend({connection._connection.info.backend_pid})")


class DriverProxy(SandboxConnection):
    """A proxy with the methods that the dialect calls beyond PEP 249."""

    @property
    def autocommit(self) -> bool:
        """True if autocommit is on."""
        return self.is_autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.is_autocommit = value

    def set_autocommit(self, value: bool) -> None:
        """Switch autocommit on or off."""
        self.is_autocommit = value

    def set_isolation_level(self, level: IsolationLevel | None) -> None:
        """Accept only READ COMMITTED, which the sandbox shows.

        Raises:
            TransactionControlError: it is another level.
        """
        if level not in (None, IsolationLevel.READ_COMMITTED):
            raise TransactionControlError(
                f"The sandbox shows READ COMMITTED, not {IsolationLevel(level).name}, since all its"
                f" transactions share one connection. {ADVICE}"
            )

    def tpc_begin(self, xid: object) -> None:
        """Refuse a transaction of two phases.

        Raises:
            TransactionControlError: always.
        """
        raise TransactionControlError(f"The sandbox cannot show two phases. {ADVICE}")

    def set_read_only(self, value: bool) -> None:
        """Accept only transactions that may write.

        Raises:
            TransactionControlError: they may not.
        """
        if value:
            raise TransactionControlError(
                "The sandbox cannot show a read-only transaction, since all its transactions are"
                f" one. {ADVICE}"
            )

    def set_deferrable(self, value: bool) -> None:
        """Do nothing: it affects only read-only transactions."""

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` is a ping, by which a pool tests a connection.

        If the shared one were lost, the test could not go on anyway.
        """
        return statement == ";" and not self.is_checked_out
