"""What SQLAlchemy's dialect for the driver calls on a connection, beyond PEP 249."""

import re
from typing import Any, Final

from .errors import check_isolation_level

SET_LEVEL: Final = re.compile(r"SET SESSION TRANSACTION ISOLATION LEVEL (?P<level>.+)")


def set_up(connection: Any) -> None:
    """Leave the shared connection as it is: its transactions begin by themselves."""


class DriverConnection:
    """The part of a sandbox's connection that depends on the driver."""

    is_autocommit = False
    _sets_level = False

    def autocommit(self, value: bool) -> None:
        """Switch autocommit on or off."""
        self.is_autocommit = value

    def get_autocommit(self) -> bool:
        """Tell whether each statement is a transaction of its own."""
        return self.is_autocommit

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` is the dialect's own, and means nothing in the sandbox.

        To change the isolation level, the dialect sends a SET and then a COMMIT.
        """
        if setting := SET_LEVEL.match(statement):
            check_isolation_level(setting["level"], ("READ COMMITTED", "REPEATABLE READ"))
        elif not (self._sets_level and statement == "COMMIT"):
            return False
        self._sets_level = bool(setting)
        return True
