"""What the sandbox must know of SQLite."""

import re
from typing import Any, Final

BEGIN: Final = "BEGIN; SAVEPOINT sandbox"
COMMIT: Final = "RELEASE SAVEPOINT sandbox; SAVEPOINT sandbox"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"
END: Final = "ROLLBACK TO SAVEPOINT sandbox; ROLLBACK"  # the first fails if it has been ended

READ: Final = re.compile(
    r"(SELECT|VALUES|EXPLAIN|PRAGMA(?!.*=)|WITH(?!.*\b(INSERT|UPDATE|DELETE)))\b",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

BEGINNING: Final = re.compile(r"BEGIN\b", re.IGNORECASE)
CLAIMING: Final = re.compile(r"BEGIN\s+(IMMEDIATE|EXCLUSIVE)\b", re.IGNORECASE)
ENDING: Final = re.compile(r"(COMMIT|END|ROLLBACK(?!(\s+TRANSACTION)?\s+TO))\b", re.IGNORECASE)
COMMITTING: Final = re.compile(r"(ATTACH|DETACH|VACUUM)\b", re.IGNORECASE)


def send(connection: Any, statements: str) -> None:
    """Execute statements without parameters."""
    cursor = connection.cursor()
    for statement in statements.split("; "):
        cursor.execute(statement)
    cursor.close()


def aborts_transaction(error: Exception) -> bool:
    """Tell that a failed statement undoes itself only; the transaction goes on."""
    return False
