"""What the sandbox must know of SQLite."""

import re
import sqlite3
from typing import Any, Final

BEGIN: Final = "BEGIN; SAVEPOINT sandbox"
# Deferred foreign keys are checked as at a real COMMIT.
CHECK: Final = "SELECT 1 FROM pragma_foreign_keys, pragma_foreign_key_check WHERE foreign_keys"
COMMIT: Final = f"{CHECK}; RELEASE SAVEPOINT sandbox; SAVEPOINT sandbox"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"
END: Final = "ROLLBACK TO SAVEPOINT sandbox; ROLLBACK"  # the first fails if it has been ended

READ: Final = re.compile(
    r"(SELECT|VALUES|EXPLAIN|PRAGMA(?!.*=)|WITH(?!.*\b(INSERT|UPDATE|DELETE)\b))\b",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

BEGINNING: Final = re.compile(r"BEGIN\b", re.IGNORECASE)
CLAIMING: Final = re.compile(r"BEGIN\s+(IMMEDIATE|EXCLUSIVE)\b", re.IGNORECASE)
ENDING: Final = re.compile(r"(COMMIT|END|ROLLBACK(?!(\s+TRANSACTION)?\s+TO))\b", re.IGNORECASE)
REFUSED: Final = (
    (
        re.compile(r"(ATTACH|DETACH|VACUUM)\b", re.IGNORECASE),
        "is not possible in a transaction, and the sandbox is one",
    ),
)


def send(connection: Any, statements: str) -> None:
    """Execute statements without parameters.

    Raises:
        sqlite3.IntegrityError: a foreign key is violated that was deferred to the commit.
    """
    cursor = connection.cursor()
    for statement in statements.split("; "):
        cursor.execute(statement)
        if statement == CHECK and cursor.fetchone():
            raise sqlite3.IntegrityError("FOREIGN KEY constraint failed")
    cursor.close()


def keep_setting(statement: str, parameters: Any) -> tuple[str, str] | None:
    """Tell that no setting ends with its transaction."""
    return None


def aborts_transaction(error: Exception) -> bool:
    """Tell that a failed statement undoes itself only; the transaction goes on."""
    return False
