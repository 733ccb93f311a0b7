"""The statements of MariaDB and MySQL, as the sandbox treats them."""

import re
from collections.abc import Iterable
from typing import Any, Final

from ..reset.changes import UNDONE_BY_ROLLBACK as UNDONE_BY_ROLLBACK

# The drivers connect with autocommit off, so the first statement begins the transaction. Setting
# a savepoint again moves it; the other one never moves, and is gone if a procedure has committed.
BEGIN: Final = "SAVEPOINT tests_harness_begin; SAVEPOINT tests_harness"
COMMIT: Final = "SAVEPOINT tests_harness"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT tests_harness"
# The first fails if the transaction has been ended.
END: Final = "ROLLBACK TO SAVEPOINT tests_harness_begin; ROLLBACK"
KEEP: Final = "SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness"
RETURN: Final = "ROLLBACK TO SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness"

NOT_CODE: Final = re.compile(
    r"--\s[^\n]*|#[^\n]*|/\*(?!!).*?\*/|(?P<literal>'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\")"
    r"|(?P<name>`(?:[^`]|``)*`)",
    re.DOTALL,
)
"""Comments, literals, and names in quotes."""
READ: Final = re.compile(
    r"(SELECT|VALUES|SHOW|DESCRIBE|EXPLAIN|WITH(?!.*\b(UPDATE|DELETE)\b))\b"
    r"(?!.*\b(INTO|FOR\s+UPDATE|FOR\s+SHARE|LOCK\s+IN\s+SHARE\s+MODE|NEXT(VAL|\s+VALUE)|SETVAL)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that neither writes nor locks, if it calls no function that does."""

RAW_CONTROL: Final = re.compile(
    r"(BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK(?!(\s+WORK)?\s+TO))\b", re.IGNORECASE
)
FOR_SESSION: Final = "is for one session, and in the sandbox all share one"
OUTLASTING: Final = "has effects beyond its transaction, and in the sandbox all share one session"
REFUSED: Final = (
    (re.compile(r".*\bSETVAL\s*\(", re.IGNORECASE | re.DOTALL), "is not undone by a rollback"),
    (re.compile(r"XA\b", re.IGNORECASE), "is of two phases, and the sandbox is one transaction"),
    (
        re.compile(
            r"""( (CREATE|DROP) \s+ TEMPORARY | PREPARE | HANDLER | USE | KILL
                | SET (?! \s+ STATEMENT ) (?! .* \b AUTOCOMMIT \b )
                ) \b
              | .* ( (?<! [\w@`] ) @\w                            # a variable of the user's
                   | @@ (SESSION\s*\.\s*)? (AUTOCOMMIT|IN_TRANSACTION|LAST_INSERT_ID|IDENTITY) \b
                   | \b (GET|RELEASE|RELEASE_ALL|IS_FREE|IS_USED)_LOCKS? \s* \(
                   | \b (LAST_INSERT_ID|FOUND_ROWS|ROW_COUNT|LASTVAL|CONNECTION_ID) \s* \(
                   | \b PREVIOUS \s+ VALUE \b )""",
            re.IGNORECASE | re.DOTALL | re.VERBOSE,
        ),
        FOR_SESSION,
    ),
    (
        # https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/
        re.compile(
            r"(CREATE|DROP|ALTER|RENAME|TRUNCATE|GRANT|REVOKE|LOCK|UNLOCK|ANALYZE|CHECK|OPTIMIZE"
            r"|REPAIR|FLUSH|RESET|INSTALL|UNINSTALL|EXECUTE|SET)\b|.*/\*!",
            re.IGNORECASE | re.DOTALL,
        ),
        "commits by itself here, or may do so, which would end the sandbox's transaction",
    ),
)

NAMES: Final = """
    WITH RECURSIVE callers (name, ending) AS (
        SELECT routine_name, '(' FROM information_schema.routines
        WHERE routine_schema = DATABASE() AND {condition}
        UNION
        SELECT routine_name, '(' FROM callers JOIN information_schema.routines
        ON LOCATE(name, routine_definition) WHERE routine_schema = DATABASE()
        UNION
        SELECT table_name, '' FROM callers JOIN information_schema.views
        ON LOCATE(CONCAT('`', name, '`'), view_definition) WHERE table_schema = DATABASE()
    )
    SELECT CONCAT(LOWER(name), ending) FROM callers
"""
"""Names of routines on a condition, and of their direct and indirect callers: routines, views."""
MAY_WRITE: Final = "routine_type = 'FUNCTION'"
CHANGES_SESSION: Final = r"""
    REGEXP_REPLACE(routine_definition, '--[ \\t].*|#.*|''[^'']*''', '')
    REGEXP '(^|[^[:alnum:]_@`])@[[:alnum:]_]|(GET_LOCK|SETVAL) *\\(|SET +(SESSION|@@)'
        '|CREATE +TEMPORARY'
"""
"""The code, without comments and literals, has what lasts after the call."""
NAME: Final = re.compile(r"([\w$]+|`[^`]+`)(\s*\()?")
"""A name, and the bracket that follows that of a function."""
CALL: Final = re.compile(r"CALL\s+[^\s(]+\s*\Z", re.IGNORECASE)
"""A call without brackets."""


def refusal(statement: str, _whole: str, _parameters: Any) -> str | None:
    """Return why the sandbox cannot show the effects of `statement`, if it cannot."""
    return next((reason for pattern, reason in REFUSED if pattern.match(statement)), None)


def settings(connection: Any) -> list[str]:
    """Return nothing: settings of the session stay when a transaction ends."""
    return []


class Schema:
    """What writes depend on, as long as the schema does not change."""

    def __init__(self, connection: Any, _: Iterable[str]) -> None:
        """Read it by `connection`."""
        self._connection = connection
        cursor = connection.cursor()
        cursor.execute(NAMES.format(condition=MAY_WRITE))
        self._names_of_writing = {name for (name,) in cursor.fetchall()}
        cursor.execute(NAMES.format(condition=CHANGES_SESSION))
        self._names_of_changing = {name for (name,) in cursor.fetchall()}

    def refusal(self, code: str, _whole: str) -> str | None:
        """Return why the sandbox cannot show what `code` calls, if it cannot."""
        code += "(" * bool(CALL.match(code))
        return OUTLASTING if self._names_of_changing & names(code) else None

    def may_write(self, read: str) -> bool:
        """Tell whether `read` has the name of what may write: a function, or its callers."""
        return bool(self._names_of_writing & names(read))

    def commit(self) -> None:
        """Move the savepoint forward."""
        execute(self._connection, COMMIT)


def names(statement: str) -> set[str]:
    """Return the names in `statement`, those of routines with a bracket."""
    found = NAME.findall(statement.lower())
    return {name.strip("`") + "(" * bool(bracket) for name, bracket in found}


def execute(connection: Any, statements: str) -> None:
    """Execute statements without parameters.

    Raises:
        RuntimeError: the test has written to a table that a rollback does not undo.
    """
    cursor = connection.cursor()
    for statement in statements.split("; "):
        cursor.execute(statement)
        if statement.startswith("ROLLBACK TO SAVEPOINT tests_harness_"):  # of END or RETURN
            cursor.execute("SHOW WARNINGS")
            for _, code, warning in cursor.fetchall():
                if code == 1196:  # ER_WARNING_NOT_COMPLETE_ROLLBACK
                    raise RuntimeError(f"{warning}, as those of MyISAM and MEMORY")
    cursor.close()


def abort_error(connection: Any) -> Exception | None:
    """Return nothing: a failed statement undoes only itself, and the transaction goes on."""
    return None
