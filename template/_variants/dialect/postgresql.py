"""What the sandbox must know of PostgreSQL."""

import re
from typing import Any, Final

BEGIN: Final = "BEGIN; SAVEPOINT sandbox"
# Deferred constraints are checked as at a real COMMIT, and are deferred again after it.
COMMIT: Final = (
    "SAVEPOINT checked; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT checked;"
    " RELEASE SAVEPOINT sandbox; SAVEPOINT sandbox"
)
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"
END: Final = "ROLLBACK TO SAVEPOINT sandbox; ROLLBACK"  # the first fails if it has been ended

READ: Final = re.compile(
    r"(SELECT|VALUES|TABLE|SHOW|EXPLAIN(?!.*\bANALY[SZ]E)|WITH(?!.*\b(INSERT|UPDATE|DELETE|MERGE)))\b"
    r"(?!.*\b(INTO|pg_(try_)?advisory\w*|FOR\s+(NO\s+KEY\s+)?UPDATE|FOR\s+(KEY\s+)?SHARE)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

BEGINNING: Final = re.compile(r"(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
CLAIMING: Final = re.compile(r"(?!)")  # none of them takes a lock
ENDING: Final = re.compile(
    r"(COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!(\s+WORK|\s+TRANSACTION)?\s+TO))\b",
    re.IGNORECASE,
)
COMMITTING: Final = re.compile(r"(?!)")  # what commits by itself refuses to run in a transaction


def send(connection: Any, statements: str) -> None:
    """Execute statements without parameters, in one round trip.

    Raises:
        DBAPI's IntegrityError: a deferred constraint is violated.
    """
    try:
        connection.run_async(lambda driver: driver.execute(statements))
    except Exception as error:
        if str(getattr(error, "sqlstate", "")).startswith("23"):
            raise connection.dbapi.IntegrityError(str(error)) from error
        raise


def aborts_transaction(error: Exception) -> bool:
    """Tell whether `error` comes from the server, where it has aborted the transaction."""
    return getattr(error, "sqlstate", None) is not None
