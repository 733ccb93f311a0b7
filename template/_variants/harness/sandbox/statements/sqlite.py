"""The statements of SQLite, as the sandbox treats them."""

import re
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

BEGIN: Final = "BEGIN; SAVEPOINT tests_harness"
# Deferred foreign keys are checked as at a real COMMIT.
CHECK: Final = "SELECT 1 FROM pragma_foreign_keys, pragma_foreign_key_check WHERE foreign_keys"
COMMIT: Final = "RELEASE SAVEPOINT tests_harness; SAVEPOINT tests_harness"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT tests_harness"
END: Final = "ROLLBACK TO SAVEPOINT tests_harness; ROLLBACK"  # the first fails if it has been ended
KEEP: Final = "SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness"
RETURN: Final = "ROLLBACK TO SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness"

NOT_CODE: Final = re.compile(
    r"--[^\n]*|/\*.*?(\*/|\Z)|(?P<literal>'(?:[^']|'')*')"
    r'|(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])',
    re.DOTALL,
)
"""Comments, literals, and names in quotes."""
READ: Final = re.compile(
    r"(SELECT|VALUES|EXPLAIN|PRAGMA(?!.*=)"
    r"|BEGIN(?!\s+(IMMEDIATE|EXCLUSIVE))|WITH(?!.*\b(INSERT|UPDATE|DELETE|REPLACE(?!\s*\())\b))\b",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

RAW_CONTROL: Final = re.compile(r"(COMMIT|END|ROLLBACK(?!(\s+TRANSACTION)?\s+TO))\b", re.IGNORECASE)
UNDONE_BY_ROLLBACK: Final = re.compile(
    r"(BEGIN|INSERT|UPDATE|DELETE|REPLACE|WITH|SELECT|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE
)
"""A statement whose effects a rollback undoes."""
REFUSED: Final = (
    (
        re.compile(
            r"(ATTACH|DETACH|VACUUM|PRAGMA\s+(\w+\.)?(wal_checkpoint|incremental_vacuum))\b",
            re.IGNORECASE,
        ),
        "is not possible in a transaction, and the sandbox is one",
    ),
    (
        re.compile(
            r"""CREATE \s+ TEMP\w* \b
              | .* \b ( (FROM|JOIN|INTO|UPDATE|TABLE|VIEW|INDEX|TRIGGER|EXISTS) \s+ temp \s* \.
                     | (last_insert_rowid|changes|total_changes) \s* \( \s* \) )
              | PRAGMA \s+ (\w+\.)?                             # that sets, and does not only ask
                ( \w+ \s* = | (?! \w+_(list|info|xinfo|check) \b | quick_check \b ) \w+ \s* \( )""",
            re.IGNORECASE | re.DOTALL | re.VERBOSE,
        ),
        "is for one session, and in the sandbox all share one",
    ),
    (
        re.compile(r".*\b(INSERT|UPDATE)\s+OR\s+(ROLLBACK|FAIL)\b", re.IGNORECASE | re.DOTALL),
        "undoes more or less than the statement where it fails, and in the sandbox all share one"
        " transaction",
    ),
)


def refusal(statement: str, _whole: str, _parameters: Any) -> str | None:
    """Return why the sandbox cannot show the effects of `statement`, if it cannot."""
    return next((reason for pattern, reason in REFUSED if pattern.match(statement)), None)


def settings(connection: Any) -> list[str]:
    """Return nothing: settings of the session stay when a transaction ends."""
    return []


class Schema:
    """What writes and commits depend on: not on the schema here."""

    def __init__(self, connection: Any, _: Iterable[str]) -> None:
        """Read nothing."""
        self._connection = connection

    def refusal(self, _code: str, _whole: str) -> str | None:
        """Return None: functions cannot change the session here."""
        return None

    def may_write(self, read: str) -> bool:
        """Return False: functions cannot write here."""
        return False

    def commit(self) -> None:
        """Move the savepoint forward.

        Raises:
            sqlite3.IntegrityError: a foreign key is violated that was deferred to the commit.
        """
        cursor = self._connection.cursor()
        cursor.execute(CHECK)
        if cursor.fetchone():
            error = sqlite3.IntegrityError("FOREIGN KEY constraint failed")
            error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
            error.sqlite_errorname = "SQLITE_CONSTRAINT_FOREIGNKEY"
            raise error
        execute(self._connection, COMMIT)


def execute(connection: Any, statements: str) -> None:
    """Execute statements without parameters."""
    cursor = connection.cursor()
    for statement in statements.split("; "):
        cursor.execute(statement)
    cursor.close()


def abort_error(connection: Any) -> Exception | None:
    """Return nothing: a failed statement undoes only itself, and the transaction goes on."""
    return None
