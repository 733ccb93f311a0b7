"""What the sandbox must know of PostgreSQL."""

import re
from typing import Any, Final

BEGIN: Final = "BEGIN; SAVEPOINT sandbox"
CHECK: Final = "SET CONSTRAINTS ALL IMMEDIATE"
# Deferred constraints are checked as at a real COMMIT, and are deferred again after it.
COMMIT: Final = (
    f"SAVEPOINT checked; {CHECK}; ROLLBACK TO SAVEPOINT checked;"
    " RELEASE SAVEPOINT sandbox; SAVEPOINT sandbox"
)
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"
END: Final = "ROLLBACK TO SAVEPOINT sandbox; ROLLBACK"  # the first fails if it has been ended

READ: Final = re.compile(
    r"(SELECT|VALUES|TABLE|SHOW|EXPLAIN(?!.*\bANALY[SZ]E)|WITH(?!.*\b(INSERT|UPDATE|DELETE|MERGE)\b))\b"
    r"(?!.*\b(INTO|set_config|pg_(try_)?advisory\w*|FOR\s+(NO\s+KEY\s+)?UPDATE|FOR\s+(KEY\s+)?SHARE)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks."""

BEGINNING: Final = re.compile(r"(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
CLAIMING: Final = re.compile(r"(?!)")  # none of them takes a lock
ENDING: Final = re.compile(
    r"(COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!(\s+WORK|\s+TRANSACTION)?\s+TO))\b",
    re.IGNORECASE,
)
REFUSED: Final = (  # what commits by itself refuses to run in a transaction
    (
        re.compile(r"CREATE\b.*\bON\s+COMMIT\s+(DROP|DELETE)\b", re.IGNORECASE | re.DOTALL),
        "acts when a transaction commits, which none does in the sandbox",
    ),
    (
        re.compile(r"SET\s+(SESSION\s+CHARACTERISTICS|(LOCAL\s+)?TRANSACTION)\b", re.IGNORECASE),
        "would change all transactions of the test, which are one in the sandbox",
    ),
)
SETTING: Final = re.compile(
    r"\A\s*SET\s+LOCAL\s+((?P<set>[\w.]+)\s*(=|TO\b)|(?P<role>ROLE)\b)"
    r"|\bset_config\s*\(\s*('(?P<config>[\w.]+)'|\$(?P<position>\d+)|%\((?P<key>\w+)\)s)"
    r"(?!.*,\s*false\s*\))",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that changes a setting until the transaction ends."""


def send(connection: Any, statements: str) -> None:
    """Execute statements without parameters, in one round trip.

    Raises:
        DBAPI's IntegrityError, or what else a check that was deferred to the commit raises.
    """
    try:
        connection.run_async(lambda driver: driver.execute(statements))
    except Exception:
        if CHECK in statements:  # again by a cursor, which raises what SQLAlchemy knows
            connection.run_async(lambda driver: driver.execute("ROLLBACK TO SAVEPOINT checked"))
            connection.cursor().execute(CHECK)
        raise


def keep_setting(statement: str, parameters: Any) -> tuple[str, str] | None:
    """Tell how to keep and to restore what `statement` sets until its transaction ends.

    Returns:
        The statements for both, if it does so. The server keeps the value, as one more setting.
    """
    if not (match := SETTING.search(statement)):
        return None
    name = match["set"] or match["role"] or match["config"]
    if not name:  # a parameter, of which the last one says whether the setting is to stay
        values = parameters.values() if match["key"] else parameters
        name = parameters[match["key"] or int(match["position"]) - 1]
        if False in values or not re.fullmatch(r"[\w.]+", name):
            return None
    kept = f"sandbox.{name.replace('.', '_')}"
    return (
        f"SELECT set_config('{kept}', coalesce(current_setting('{name}', true), ''), true)",
        f"SELECT set_config('{name}', current_setting('{kept}'), true)",
    )


def aborts_transaction(error: Exception) -> bool:
    """Tell whether `error` comes from the server, where it has aborted the transaction."""
    return getattr(error, "sqlstate", None) is not None
