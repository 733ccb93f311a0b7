"""The statements of PostgreSQL, as the sandbox treats them."""

import re
from collections.abc import Iterable
from typing import Any, Final

from ..errors import TransactionControlError

BEGIN: Final = "BEGIN; SAVEPOINT tests_harness"
ROLLBACK: Final = "ROLLBACK TO SAVEPOINT tests_harness"
END_SESSION: Final = "SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES"
# The first fails if the transaction has been ended.
END: Final = f"ROLLBACK TO SAVEPOINT tests_harness; ROLLBACK; {END_SESSION}"
KEEP: Final = "SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness"
RETURN: Final = (
    "ROLLBACK TO SAVEPOINT tests_harness_{level}; SAVEPOINT tests_harness; " + END_SESSION
)
CHECK: Final = "SET CONSTRAINTS ALL IMMEDIATE"
"""The first part of a COMMIT: deferred triggers run, deferred constraints are checked."""

NOT_CODE: Final = re.compile(
    r"--[^\n]*|/\*.*?\*/|(?P<literal>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(\w*)\$.*?\$\2\$)"
    r'|(?P<name>"(?:[^"]|"")*")',
    re.DOTALL,
)
"""Comments, literals, and names in quotes."""
READ: Final = re.compile(
    r"""( SELECT | VALUES | TABLE | SHOW
        | EXPLAIN (?! .* \b ANALY[SZ]E )
        | WITH (?! .* \b (INSERT|UPDATE|DELETE|MERGE) \b )
        ) \b
        (?! .* ( \b INTO \b                                       # creates a table
               | \b FOR \s+ ( (NO\s+KEY\s+)? UPDATE | (KEY\s+)? SHARE ) \b
               | \b U& ["']                                       # a name with escapes
               | \b ( set_config | setval | lo_\w+ | lowrite | pg_notify
                    | pg_(try_)?advisory\w* | \w+_to_xml\w* ) "? \s* \(
               ) )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
"""A statement that neither writes nor locks, if it calls no function that does."""
RAW_CONTROL: Final = re.compile(
    r"(BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT|ROLLBACK(?!(\s+WORK|\s+TRANSACTION)?\s+TO))\b",
    re.IGNORECASE,
)
UNDONE_BY_ROLLBACK: Final = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|WITH|SELECT|SHOW|SAVEPOINT|RELEASE|ROLLBACK|SET\s+LOCAL)\b",
    re.IGNORECASE,
)
"""A statement of which a rollback leaves nothing. DDL is none: it may concern temporary tables, and
types that the driver has cached."""
FOR_SESSION: Final = "is for one session, and in the sandbox all share one"
OUTLASTING: Final = "has effects beyond its transaction, and in the sandbox all share one session"
REFUSED: Final = (
    (re.compile(r'.*\bsetval"?\s*\(', re.IGNORECASE | re.DOTALL), "is not undone by a rollback"),
    (re.compile(r"COPY\b", re.IGNORECASE), "transfers data past SQLAlchemy and the sandbox"),
    (
        re.compile(
            r"(CREATE|DROP)\b.*\bINDEX\s+CONCURRENTLY\b|REINDEX\b.*\bCONCURRENTLY\b|VACUUM\b"
            r"|(CREATE|DROP)\s+(DATABASE|TABLESPACE|SUBSCRIPTION)\b|ALTER\s+SYSTEM\b"
            r"|PREPARE\s+TRANSACTION\b",
            re.IGNORECASE | re.DOTALL,
        ),
        "is not possible in a transaction, and the sandbox is one",
    ),
    (
        re.compile(r"SET\s+(SESSION\s+CHARACTERISTICS|(LOCAL\s+)?TRANSACTION)\b", re.IGNORECASE),
        "would change all transactions of the test, which are one in the sandbox",
    ),
    (
        re.compile(
            r"""( SET (?! \s+ (LOCAL|CONSTRAINTS) ) | RESET
                | DECLARE | PREPARE | DEALLOCATE | DISCARD | LISTEN | UNLISTEN
                | ( CREATE | SELECT \b .* \b INTO ) \s+ ((LOCAL|GLOBAL)\s+)? TEMP\w*
                ) \b
              | .* \b ( pg_(try_)?advisory_(un)?lock\w* | currval | lastval | setseed
                       | pg_backend_pid ) "? \s* \(
              | .* \b pg_temp \s* \.""",
            re.IGNORECASE | re.DOTALL | re.VERBOSE,
        ),
        FOR_SESSION,
    ),
)

CAUSED_BY_TRANSACTION: Final = {"25001", "2D000", "55P04"}
"""Codes of errors that come of the transaction that is open: a statement that is not possible
in one, a COMMIT in a procedure, and the use of a new value of an enum."""

NAMES: Final = """
    WITH RECURSIVE functions AS (
        SELECT oid, proname FROM pg_proc
        WHERE oid >= 16384 AND prorettype <> 'trigger'::regtype AND {condition}
        UNION  -- their callers
        SELECT caller.oid, caller.proname FROM functions
        JOIN pg_proc caller ON caller.oid >= 16384
        AND strpos(
            lower(coalesce(pg_get_function_sqlbody(caller.oid), caller.prosrc)),
            lower(functions.proname)
        ) > 0
    ), relations AS (  -- views that call them, or whose tables have policies that do
        SELECT coalesce(ev_class, polrelid) AS oid FROM functions
        JOIN pg_depend ON refclassid = 'pg_proc'::regclass AND refobjid = functions.oid
        LEFT JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
        LEFT JOIN pg_policy ON classid = 'pg_policy'::regclass AND objid = pg_policy.oid
        UNION  -- views of views
        SELECT ev_class FROM relations
        JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = relations.oid
        JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
    )
    SELECT lower(proname) || '(' FROM functions
    UNION SELECT lower(pg_proc.proname) || '(' FROM functions JOIN pg_aggregate  -- aggregates
        ON functions.oid IN (aggtransfn, aggfinalfn) JOIN pg_proc ON pg_proc.oid = aggfnoid
    UNION SELECT oprname FROM functions JOIN pg_operator ON oprcode = functions.oid  -- operators
    UNION SELECT lower(typname) FROM functions JOIN pg_cast ON castfunc = functions.oid  -- casts
        JOIN pg_type ON pg_type.oid IN (castsource, casttarget) AND pg_type.oid >= 16384
    UNION SELECT lower(typname) FROM functions  -- domains, by their constraints
        JOIN pg_depend ON refclassid = 'pg_proc'::regclass AND refobjid = functions.oid
        JOIN pg_constraint ON classid = 'pg_constraint'::regclass AND objid = pg_constraint.oid
        JOIN pg_type ON pg_type.oid = contypid
    UNION SELECT lower(pg_proc.proname) FROM functions JOIN pg_proc USING (oid)  -- row.function
        JOIN pg_type ON pg_type.oid = proargtypes[0] AND typtype = 'c' WHERE pronargs = 1
    UNION SELECT lower(relname) FROM relations JOIN pg_class ON pg_class.oid = relations.oid
"""
"""Names of functions on a condition, and of what calls them, directly or not, in a SELECT."""
MAY_WRITE: Final = "provolatile = 'v'"
"""https://www.postgresql.org/docs/current/xfunc-volatility.html"""
ROUTINES: Final = """
    SELECT pg_proc.oid::bigint, coalesce(pg_get_function_sqlbody(pg_proc.oid), prosrc) FROM pg_proc
    JOIN pg_language ON pg_language.oid = prolang
    WHERE pg_proc.oid >= 16384 AND lanname NOT IN ('c', 'internal')
"""
COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
LOCAL_SETTING: Final = re.compile(
    r'\bset_config"?\s*\((?:(?!set_config)[^;])*?,\s*true\s*\)', re.IGNORECASE
)
CHANGES_SESSION: Final = re.compile(
    r"""\b ( pg_(try_)?advisory_(un)?lock | set_config \b | setval \b | setseed \b | pg_temp \s* \.
           | create \s+ ((local|global)\s+)? temp(orary)? \s+ table \b )
      | ( ^ | [;'] | \b (begin|then|else|loop) \b ) \s*         # where a statement begins
        ( (un)?listen \s+ [\w'] | set \s+ (?! (local|constraints|transaction) \b ) \w )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Code that has effects which outlive its transaction."""
NAME: Final = re.compile(r'([\w$]+|"[^"]+"|[-+*/<>=~!@#%^&|?]+)(\s*\()?')
"""A name or an operator, and the bracket that follows the name of a function."""
SETTINGS: Final = """
    SELECT format('SELECT set_config(%L, %L, false)', name, setting)
    FROM pg_settings WHERE source = 'session'
"""
"""What sets again what listeners have set, also past the sandbox: a commit ends all settings."""
LIMITS: Final = """
    SELECT set_config(name, '0', false) FROM pg_settings WHERE setting <> '0'
    AND name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""
"""What lifts the limits that would end the sandbox, which is one transaction."""
DO: Final = re.compile(r"DO\b", re.IGNORECASE)
SETTING: Final = re.compile(r"\s*(SET|SELECT)\b", re.IGNORECASE)
DEFERRABLE: Final = """
    SELECT format('%I.%I', nspname, conname), condeferred
    FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace WHERE condeferrable
"""


def refusal(statement: str, whole: str, parameters: Any) -> str | None:
    """Return why the sandbox cannot show the effects of `statement`, if it cannot.

    Args:
        statement: one of the statements of `whole`, without comments and literals.
        whole: what is executed.
        parameters: of it.
    """
    if "set_config" in LOCAL_SETTING.sub("", statement).lower():
        values = parameters.values() if isinstance(parameters, dict) else parameters or ()
        if {value for value in values if isinstance(value, bool)} != {True}:  # is_local
            return FOR_SESSION
    if DO.match(statement) and changes_session(whole):
        return FOR_SESSION
    return next((reason for pattern, reason in REFUSED if pattern.match(statement)), None)


def changes_session(code: str) -> bool:
    """Tell whether `code` has effects that outlive its transaction."""
    return bool(CHANGES_SESSION.search(LOCAL_SETTING.sub("", COMMENT.sub(" ", code))))


def settings(connection: Any) -> list[str]:
    """Return what sets again all that is set for the session, whoever did it, and how.

    Raises:
        TransactionControlError: it has another isolation level than the one that is shown.
    """
    ((level,),) = query(connection, "SHOW default_transaction_isolation")
    if level != "read committed":
        raise TransactionControlError(
            f"The application's connections are set to {level}; the sandbox shows READ COMMITTED."
            " Mark tests with @pytest.mark.real_commits, or choose another strategy:"
            " `copier update --vcs-ref=:current: --ask isolation`."
        )
    query(connection, LIMITS)
    return [statement for (statement,) in query(connection, SETTINGS)]


class Schema:
    """What writes and commits depend on, as long as the schema does not change."""

    def __init__(self, connection: Any, setup_statements: Iterable[str]) -> None:
        """Read it by `connection`, which has executed `setup_statements` of listeners."""
        self._connection = connection
        self._names_of_writing = read_names(connection, MAY_WRITE)
        routines = query(connection, ROUTINES)
        changing = [str(oid) for oid, code in routines if changes_session(code)]
        of_changing = f"oid IN ({', '.join(changing)})"
        self._names_of_changing = read_names(connection, of_changing) if changing else set()
        self._constraints = query(connection, DEFERRABLE)
        deferred = {name for name, is_deferred in self._constraints if is_deferred}
        if both := deferred & {name for name, is_deferred in self._constraints if not is_deferred}:
            raise TransactionControlError(
                f"Several constraints are called {' and '.join(both)}, deferred and not. After a"
                " commit, the sandbox could set them only together: give one another name."
            )
        self._commit = "; ".join(
            [
                *([f"SET CONSTRAINTS {', '.join(deferred)} DEFERRED"] if deferred else []),
                "SET SESSION AUTHORIZATION DEFAULT; RESET ALL",
                *filter(SETTING.match, setup_statements),
                "RELEASE SAVEPOINT tests_harness; SAVEPOINT tests_harness",
            ]
        )

    def refusal(self, code: str, whole: str) -> str | None:
        """Return why the sandbox cannot show what `code` calls, if it cannot; see `refusal`."""
        called = names(whole if DO.match(code) else code)
        return OUTLASTING if self._names_of_changing & called else None

    def may_write(self, read: str) -> bool:
        """Tell whether `read` has the name of what may write: a function, or its callers."""
        return bool(self._names_of_writing & names(read))

    def commit(self) -> None:
        """Move the savepoint forward.

        This checks constraints, and defers those again that are deferred by default. It ends all
        settings of the transaction, but not those of listeners for "connect".

        Raises:
            Exception: the driver's, of a check that was deferred to the commit, or of a trigger.
        """
        if self._constraints:
            self._connection.cursor().execute(CHECK)  # its errors are those that SQLAlchemy knows
        execute(self._connection, self._commit)


def read_names(connection: Any, condition: str) -> set[str]:
    """Return the names of functions on this `condition`, and of their callers."""
    return {name for (name,) in query(connection, NAMES.format(condition=condition))}


def names(statement: str) -> set[str]:
    """Return the names in `statement`, those of functions with a bracket."""
    found = NAME.findall(statement.lower())
    return {name.strip('"') + "(" * bool(bracket) for name, bracket in found}


def execute(connection: Any, statements: str) -> None:
    """Execute statements without parameters, in one round trip."""
    connection.run_async(lambda driver: driver.execute(statements))


def query(connection: Any, statement: str) -> list[Any]:
    """Return the rows of a statement without parameters."""
    cursor = connection.cursor()
    cursor.execute(statement)
    rows: list[Any] = cursor.fetchall()
    return rows


def abort_error(connection: Any) -> Exception | None:
    """Return the error of all further statements, if a failed one has aborted the transaction."""
    try:
        connection.cursor().execute("SELECT 1")
    except Exception as error:
        return error
    return None
