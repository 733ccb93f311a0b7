"""Returns the database to what it was before any test, by one call of a generated function.

The function knows all tables and sequences. It empties the tables that hold rows but held none,
restores reference data where it has changed, and sets back the sequences that have been used. It
looks at the tables themselves, so it sees every writer: raw SQL, triggers, cascades, other
connections. All that it needs is temporary, and belongs to one connection of its own.
"""

import time
import zlib
from contextlib import suppress
from typing import Final

from .connection import OwnConnection
from .errors import LeakError, ServerError
from .lifecycle import Database
from .prepared import renew

PATIENCE: Final = 3
"""Seconds for a transaction to end after its test, such as that of a connection just closed."""

DO_WITHOUT_TRIGGERS: Final = "SET session_replication_role = replica"
"""Neither triggers nor foreign keys act on what this connection does: order does not matter."""

OWN: Final = """
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^(pg_|information_schema$)' AND relpersistence <> 't' AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
        AND deptype = 'e'
    )
"""
"""What is not the system's, not an extension's, and not temporary."""

TABLES: Final = f"""
    SELECT format('%I.%I', nspname, relname), (
        SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ) {OWN} AND relkind = 'r'
"""
"""All tables, partitions among them, each with the columns that can be written."""

VIEWS: Final = (
    f"SELECT format('%I.%I', nspname, relname) {OWN} AND relkind = 'm' AND relispopulated"
    " ORDER BY pg_class.oid"
)
"""All materialized views, which a test may refresh; first those that others are made from."""

SEQUENCES: Final = f"SELECT format('%I.%I', nspname, relname) {OWN} AND relkind = 'S'"

OBJECTS: Final = "pg_largeobject_metadata"
"""Large objects: none is left, since reference data in them is hardly anybody's."""

SCHEMA: Final = """
    SELECT sum(hashint8extended(oid::bigint, relnatts + 10000 * relchecks + relhastriggers::int))
        + (SELECT max(oid)::bigint FROM pg_proc WHERE pronamespace <> pg_my_temp_schema())
    FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
"""
"""A number that changes when something is created, altered or dropped; quick, by an index."""

ROWS: Final = (
    "SELECT concat_ws(' ', count(*), sum(hashtextextended(t::text, 0))) FROM ONLY {table} t"
)
"""A text that changes when a row is inserted, updated or deleted."""

SESSIONS: Final = """
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
"""Who else has a transaction open."""

DESCRIPTION: Final = (
    "SELECT string_agg(format('session %s, %s: %s', pid, state, query), '; ')" + SESSIONS
)

FUNCTION: Final = """
    CREATE FUNCTION pg_temp.reset_database() RETURNS text LANGUAGE plpgsql AS $function$
    DECLARE
        open_transactions text;
        tasks int[];
        task int;
    BEGIN
        open_transactions := ({description} AND backend_xid IS NOT NULL);  -- that have written
        IF open_transactions IS NOT NULL THEN
            RETURN open_transactions;
        END IF;
        IF ({schema}) <> {fingerprint} THEN
            RETURN 'altered';
        END IF;
        tasks := ARRAY({checks});
        IF cardinality(tasks) > 0 AND current_setting('session_replication_role') <> 'replica' THEN
            RETURN 'altered';
        END IF;
        FOREACH task IN ARRAY tasks LOOP
            CASE task {actions} END CASE;
        END LOOP;
        RETURN '';
    END $function$
"""


class Reset:
    """Returns a database to what it is now, again and again."""

    def __init__(self, database: Database) -> None:
        """Look at `database`, to which no test has written yet."""
        self._database = database
        self._open()

    def run(self, *, is_altered: bool = False) -> bool:
        """Return the database to what it was.

        Args:
            is_altered: the test is known to have altered more than rows.

        Returns:
            Whether its tables had to be made anew, and all connections were closed for that. That
            is so when a test has altered them, or when this role may not do without triggers.

        Raises:
            LeakError: a transaction was open. It has been ended; the database is what it was.
        """
        outcome = self._call_function()
        if outcome == "altered" or (is_altered and not outcome):
            self.renew()
            return True
        if outcome:
            self._connection.query(f"SELECT pg_terminate_backend(pid, 5000) {SESSIONS}")
            self.run(is_altered=is_altered)
            raise LeakError(f"This test has left a transaction open, not in a pool: {outcome}")
        return False

    def renew(self) -> None:
        """Make the tables anew; nobody stays connected."""
        self.close()
        renew(self._database)
        self._open()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _open(self) -> None:
        """Connect, copy the reference data, and create the function."""
        self._connection = OwnConnection(self._database.url)
        query = self._connection.query
        query(f"SET lock_timeout = '{PATIENCE}s'")
        query("SET row_security = off")  # an error, instead of rows that are hidden
        with suppress(ServerError):  # this role may not
            query(DO_WITHOUT_TRIGGERS)
        tasks = [
            *(self._table(name, columns) for name, columns in query(TABLES)),
            *(self._view(name) for (name,) in query(VIEWS)),
            *(self._sequence(name) for (name,) in query(SEQUENCES)),
            (f"FROM {OBJECTS} LIMIT 1", f"PERFORM lo_unlink(oid) FROM {OBJECTS}"),
        ]
        checks = [f"(SELECT {number} {check})" for number, (check, _) in enumerate(tasks)]
        actions = [f"WHEN {number} THEN {action};" for number, (_, action) in enumerate(tasks)]
        ((fingerprint,),) = query(SCHEMA)
        function = FUNCTION.format(
            description=DESCRIPTION,
            schema=SCHEMA,
            fingerprint=fingerprint,
            checks=" UNION ALL ".join(checks),
            actions=" ".join(actions),
        )
        query(function)

    def _table(self, table: str, columns: str) -> tuple[str, str]:
        """Return how to find out whether `table` has to be put right, and how to do it."""
        ((rows,),) = self._connection.query(ROWS.format(table=table))
        if rows == "0":
            return f"FROM ONLY {table} LIMIT 1", f"DELETE FROM ONLY {table}"
        copy = f"pg_temp.copy_{zlib.crc32(table.encode())}"
        self._connection.query(
            f"CREATE TEMPORARY TABLE {copy} AS SELECT {columns} FROM ONLY {table}"
        )
        return (
            f"WHERE ({ROWS.format(table=table)}) <> {literal(rows)}",
            f"DELETE FROM ONLY {table}; INSERT INTO {table} ({columns})"
            f" OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy}",
        )

    def _view(self, view: str) -> tuple[str, str]:
        """Return how to find out whether `view` has been refreshed, and how to set it back."""
        ((rows,),) = self._connection.query(ROWS.format(table=view))
        return (
            f"WHERE ({ROWS.format(table=view)}) <> {literal(rows)}",
            f"REFRESH MATERIALIZED VIEW {view}",
        )

    def _sequence(self, sequence: str) -> tuple[str, str]:
        """Return how to find out whether `sequence` has been used, and how to set it back."""
        query = f"SELECT last_value, is_called FROM {sequence}"
        ((value, is_called),) = self._connection.query(query)
        return (
            f"FROM {sequence} WHERE last_value <> {value} OR is_called <> {is_called}",
            f"PERFORM setval({literal(sequence)}, {value}, {is_called})",
        )

    def _call_function(self) -> str:
        """Call the function; return which transactions are open, "altered", or nothing."""
        deadline = time.monotonic() + PATIENCE
        outcome: str
        while True:
            try:
                ((outcome,),) = self._connection.query("SELECT pg_temp.reset_database()")
            except ServerError:  # a lock, or tables that it does not know any more
                ((outcome,),) = self._connection.query(DESCRIPTION)
                outcome = outcome or "altered"
            if outcome in ("", "altered") or time.monotonic() > deadline:
                return outcome
            time.sleep(0.02)


def literal(value: str) -> str:
    """Return `value` as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
