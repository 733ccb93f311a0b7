"""The methods that SQLAlchemy's dialect for the driver calls on a connection, beyond PEP 249."""

import re
from typing import Any, Final

from ..database.server import Server
from .levels import check_isolation_level

SET_LEVEL: Final = re.compile(r"SET SESSION TRANSACTION ISOLATION LEVEL (?P<level>.+)")


def prepare_shared(connection: Any) -> None:
    """Leave the shared connection as it is: it begins transactions implicitly."""


async def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"KILL QUERY {connection._connection.thread_id()}")


class DriverConnection:
    """The part of a sandbox's connection that depends on the driver."""

    sandbox: Any
    is_autocommit = False
    _sets_level = False

    def autocommit(self, value: bool) -> None:
        """Switch autocommit on or off."""
        self.is_autocommit = value

    def get_autocommit(self) -> bool:
        """Tell whether each statement is a transaction."""
        return self.is_autocommit

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox.

        To change the isolation level, the dialect sends a SET and then a COMMIT.
        """
        if setting := SET_LEVEL.match(statement):
            # An engine without a chosen level returns to the default, which has no effect here.
            is_chosen = any(SET_LEVEL.match(setup) for setup in self.sandbox.setup_statements)
            default = () if is_chosen else ("REPEATABLE READ",)
            check_isolation_level(setting["level"], ("READ COMMITTED", *default))
        elif not (self._sets_level and statement == "COMMIT"):
            return False
        self._sets_level = bool(setting)
        return True
