"""What is particular to connections of this driver, as SQLAlchemy's dialect uses them."""

import asyncio
import re
from typing import Any, Final

from sqlalchemy.util import await_only

from ..database.server import Server
from ..errors import TransactionControlError
from .connection import ADVICE, SandboxConnection

SET_LEVEL: Final = re.compile(r"SET SESSION TRANSACTION ISOLATION LEVEL (?P<level>.+)")


def prepare_shared(connection: Any) -> None:
    """Leave the shared connection as it is: it begins transactions implicitly."""


def cancel(connection: Any, server: Server) -> None:
    """Cancel the statement that runs on `connection`."""
    server.admin.query(f"KILL QUERY {connection._connection.thread_id()}")


class DriverProxy(SandboxConnection):
    """A proxy with the methods that the dialect calls beyond PEP 249."""

    _sets_level = False

    def autocommit(self, value: bool) -> None:
        """Switch autocommit on or off."""
        self.is_autocommit = value

    def get_autocommit(self) -> bool:
        """Tell whether autocommit is on."""
        return self.is_autocommit

    def ping(self, *_: bool) -> None:
        """Suspend the task as a ping does; a lost connection would end the test anyway."""
        await_only(asyncio.sleep(0))

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox.

        To change the isolation level, the dialect sends a SET and then a COMMIT.

        Raises:
            TransactionControlError: it is another level than the one that the sandbox shows.
        """
        if setting := SET_LEVEL.match(statement):
            # An engine without a chosen level returns to the default, which has no effect here.
            is_chosen = any(SET_LEVEL.match(setup) for setup in self.sandbox.setup_statements)
            default = () if is_chosen else ("REPEATABLE READ",)
            if setting["level"] not in ("READ COMMITTED", *default):
                raise TransactionControlError(
                    f"The sandbox shows READ COMMITTED, not {setting['level']}, since all its"
                    f" transactions share one connection. {ADVICE}"
                )
        elif not (self._sets_level and statement == "COMMIT"):
            return False
        self._sets_level = bool(setting)
        return True
