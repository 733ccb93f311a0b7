"""What the sandbox must know of MariaDB and MySQL."""

import re
from typing import Any, Final

# The drivers connect with autocommit off, so the first statement begins the transaction. To set
# a savepoint again is to move it; the one that never moves is gone if a procedure has committed.
BEGIN: Final = "SAVEPOINT test; SAVEPOINT sandbox"
COMMIT: Final = "SAVEPOINT sandbox"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"
END: Final = "ROLLBACK TO SAVEPOINT test; ROLLBACK"  # the first fails if it has been ended

READ: Final = re.compile(
    r"(SELECT|VALUES|SHOW|DESCRIBE|EXPLAIN|WITH(?!.*\b(UPDATE|DELETE)\b))\b"
    r"(?!.*\b(INTO|FOR\s+UPDATE|FOR\s+SHARE|LOCK\s+IN\s+SHARE\s+MODE)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

BEGINNING: Final = re.compile(r"(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
CLAIMING: Final = re.compile(r"(?!)")  # none of them takes a lock
ENDING: Final = re.compile(r"(COMMIT|ROLLBACK(?!(\s+WORK)?\s+TO)|XA)\b", re.IGNORECASE)
COMMITTING: Final = re.compile(
    r"((CREATE|DROP)(?!\s+TEMPORARY)|ALTER|RENAME|TRUNCATE|GRANT|REVOKE|LOCK|UNLOCK|ANALYZE|CHECK"
    r"|OPTIMIZE|REPAIR|FLUSH|RESET|INSTALL|UNINSTALL|EXECUTE|SET\s+STATEMENT"
    r"|SET\b.*\bAUTOCOMMIT)\b|/\*!",
    re.IGNORECASE | re.DOTALL,
)
"""https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/"""
REFUSED: Final = (
    (COMMITTING, "commits by itself on this database, which would end the sandbox's transaction"),
)


def send(connection: Any, statements: str) -> None:
    """Execute statements without parameters."""
    cursor = connection.cursor()
    for statement in statements.split("; "):
        cursor.execute(statement)
    cursor.close()


def keep_setting(statement: str, parameters: Any) -> tuple[str, str] | None:
    """Tell that no setting ends with its transaction."""
    return None


def aborts_transaction(error: Exception) -> bool:
    """Tell that a failed statement undoes itself only; the transaction goes on."""
    return False
