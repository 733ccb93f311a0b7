"""Returns the database to what it was before any test, by one call of a generated function.

Triggers note which tables are written to, by whomever: raw SQL, functions, cascades, COPY, other
connections. The function empties those tables, copies back what was in them, and sets back the
sequences that have been used; so it costs what a test has written, not what is there. Where a
catalog has a row that is newer, a test has altered more than rows, and the database is made anew.
"""

import time
import zlib
from contextlib import suppress
from typing import Final

from ..database.admin import AdminConnection
from ..database.lifecycle import Database
from ..database.prepared import renew
from ..database.server import MARK
from ..errors import LeakError, ServerError

TRANSACTION_TIMEOUT: Final = 3
"""Seconds for a transaction to end after its test, such as that of a connection just closed."""
MANY: Final = 10_000
"""Rows that a table may hold to be restored; more are not copied, but the database made anew."""
SPARE: Final = 2**17
"""Bytes that a table may grow by before the rows that are dead are cleared away."""

SETTINGS: Final = (
    f"SET lock_timeout = '{TRANSACTION_TIMEOUT}s'",
    "SET row_security = off",  # an error, instead of rows that are hidden
    "SET plan_cache_mode = force_generic_plan",
)
DO_WITHOUT_TRIGGERS: Final = "SET session_replication_role = replica"
"""Neither triggers nor foreign keys act on what this connection does: order does not matter."""

OWN: Final = f"""
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^(pg_|information_schema$|{MARK}$)' AND relpersistence <> 't'
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
        AND deptype = 'e'
    )
"""
"""What is not the system's, not an extension's, and not temporary."""

NOTE_WRITES: Final = f"""
    DO $do$
    DECLARE name text;
    BEGIN
        CREATE UNLOGGED TABLE {MARK}.writes (relation oid);
        CREATE FUNCTION {MARK}.note_write() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER AS $function$
        BEGIN
            INSERT INTO {MARK}.writes VALUES (tg_relid);
            RETURN NULL;
        END $function$;
        FOR name IN SELECT format('%I.%I', nspname, relname) {OWN} AND relkind IN ('r', 'p') LOOP
            EXECUTE 'CREATE TRIGGER {MARK} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON '
                || name || ' EXECUTE FUNCTION {MARK}.note_write()';
            EXECUTE 'ALTER TABLE ' || name || ' ENABLE ALWAYS TRIGGER {MARK}';
        END LOOP;
    END $do$
"""
"""Have each statement that writes noted, as part of its transaction."""

WRITTEN: Final = f"""
    WITH RECURSIVE written (relation) AS (
        SELECT relation FROM {MARK}.writes
        UNION SELECT inhrelid FROM pg_inherits JOIN written ON inhparent = relation
    )
    SELECT relation FROM written
"""
"""The tables that have been written to, with their partitions and descendants."""

TABLES: Final = f"""
    SELECT pg_class.oid::bigint, format('%I.%I', nspname, relname), pg_relation_size(pg_class.oid),
        (
            SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
            WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ),
        EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname <> '{MARK}'
            AND tgenabled IN ('A', 'R')
        ) OR EXISTS (
            SELECT FROM pg_rewrite WHERE ev_class = pg_class.oid AND ev_enabled IN ('A', 'R')
        ) OR EXISTS (
            SELECT FROM pg_constraint LEFT JOIN pg_depend ON refclassid = 'pg_proc'::regclass
            AND classid = 'pg_constraint'::regclass AND objid = pg_constraint.oid
            WHERE conrelid = pg_class.oid AND contype = 'c'
            AND (refobjid IS NOT NULL OR NOT convalidated)
        )
    {OWN} AND relkind = 'r'
"""
"""All tables, partitions among them, each with its size, the columns that can be written, and
whether it has triggers or rules that would act on what this connection does, too, or checks that
its rows, or their order, may not satisfy."""

SEQUENCES: Final = f"""
    SELECT format('%I.%I', nspname, relname), seqcache
    {OWN.replace("WHERE", "JOIN pg_sequence ON seqrelid = pg_class.oid WHERE", 1)}
"""

IDENTITY: Final = """concat_ws(' ', oid, relname, relnamespace, relowner, relam, reltablespace,
    relkind, relnatts, relchecks, relrowsecurity, relforcerowsecurity, relreplident, relispartition,
    relacl, reloptions, CASE relkind WHEN 'm' THEN xmin END)"""
"""What is the same of a table after TRUNCATE, but not of a materialized view that is refreshed."""

OF_TABLE: Final = "(SELECT relpersistence <> 't' FROM pg_class WHERE pg_class.oid = {})"
OF_SCHEMA: Final = "(SELECT nspname !~ '^pg_' FROM pg_namespace WHERE pg_namespace.oid = {})"
CATALOGS: Final = {
    "pg_class": (
        f"{IDENTITY} NOT IN (SELECT identity FROM pg_temp.pristine) AND relpersistence <> 't'"
        f" AND {OF_SCHEMA.format('relnamespace')}"
    ),
    "pg_attribute": OF_TABLE.format("attrelid"),
    "pg_trigger": OF_TABLE.format("tgrelid"),
    "pg_rewrite": OF_TABLE.format("ev_class"),
    "pg_policy": OF_TABLE.format("polrelid"),
    "pg_sequence": OF_TABLE.format("seqrelid"),
    "pg_type": OF_SCHEMA.format("typnamespace"),
    "pg_proc": OF_SCHEMA.format("pronamespace"),
    "pg_constraint": OF_SCHEMA.format("connamespace"),
    "pg_namespace": "nspname !~ '^pg_'",
    **dict.fromkeys(
        (
            *("pg_description", "pg_enum", "pg_default_acl", "pg_extension", "pg_event_trigger"),
            *("pg_publication", "pg_publication_rel", "pg_statistic_ext", "pg_collation"),
            *("pg_operator", "pg_cast", "pg_foreign_server", "pg_ts_config"),
        ),
        "true",
    ),
}
"""The catalogs of what a test may create, alter or drop, each with what makes a row of it count
that is new: not that of a temporary table."""
KEYS: Final = {"pg_attribute": "attrelid", "pg_sequence": "seqrelid", "pg_description": "objoid"}
"""Their keys, where that is not `oid`."""
FIRST: Final = 16384
"""The first `oid` that is not the system's."""
PUBLIC: Final = 2200
"""The `oid` of the schema `public`, which is the system's; its privileges are not."""

SESSIONS: Final = """
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
"""Who else has a transaction open."""

DESCRIPTION: Final = (
    "SELECT string_agg(format('session %s, %s: %s', pid, state, query), '; ')" + SESSIONS
)

BEGIN: Final = f"set_config('{MARK}.begin', pg_current_xact_id()::xid::text, false)"
"""Let all later transactions be the test's."""

IS_HERE: Final = "SELECT to_regproc('pg_temp.reset_database') IS NOT NULL"
FUNCTION: Final = """
    CREATE FUNCTION pg_temp.reset_database(
        OUT open_transactions text, OUT is_altered bool, OUT is_cached bool, OUT bloated text[]
    ) LANGUAGE plpgsql AS $function$
    #variable_conflict use_column
    DECLARE
        age_of_test int := age(current_setting('{mark}.begin')::xid);
        written oid[];
        task oid;
    BEGIN
        is_cached := false;
        open_transactions := ({description} AND backend_xid IS NOT NULL);  -- that have written
        IF open_transactions IS NOT NULL THEN
            RETURN;
        END IF;
        is_altered := ({altered});
        IF is_altered THEN
            RETURN;
        END IF;
        written := ARRAY({written});
        is_altered := written && ARRAY[{remade}]::oid[];
        IF is_altered THEN
            RETURN;
        END IF;
        FOREACH task IN ARRAY written LOOP
            CASE task WHEN 0 THEN NULL; {tables} ELSE NULL; END CASE;
        END LOOP;
        {sequences}
        PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid NOT IN (0{large_objects});
        DELETE FROM {mark}.writes;
        PERFORM {begin};
    END $function$
"""


class Reset:
    """Returns a database to what it is now, again and again."""

    def __init__(self, database: Database) -> None:
        """Look at `database`, to which no test has written yet."""
        self._database = database
        self._open()

    def run(self) -> bool:
        """Return the database to what it was.

        Returns:
            Whether connections have to be made anew: the database had to be, since a test has
            altered more than rows, or this role may not do without triggers; or they have ids of a
            sequence in store.

        Raises:
            LeakError: a transaction was open. It has been ended; the database is what it was.
            ServerError: rows could not be restored. The database has been made anew instead.
        """
        try:
            open_transactions, was_altered, is_cached, bloated = self._call_function()
        except ServerError:
            self.renew()
            raise
        if open_transactions:
            self._connection.query(f"SELECT pg_terminate_backend(pid, 5000) {SESSIONS}")
            self.run()
            raise LeakError(
                f"This test has left a transaction open, not in a pool: {open_transactions}"
            )
        if was_altered:
            self.renew()
        elif bloated:
            self._connection.query(f"VACUUM {', '.join(bloated)}")
        return was_altered or is_cached

    def renew(self) -> None:
        """Make the tables anew; nobody stays connected."""
        self.close()
        renew(self._database)
        self._open()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _open(self) -> None:
        """Connect, have writes noted, copy the reference data, and create the function."""
        self._connection = AdminConnection(self._database.url, SETTINGS)
        query = self._connection.query
        may_restore = False  # by this role
        with suppress(ServerError):
            query(DO_WITHOUT_TRIGGERS)
            may_restore = True
        query(NOTE_WRITES)
        remade, tables = [], []
        for oid, name, *about, is_guarded in query(TABLES):
            has_many = f"SELECT 1 FROM ONLY {name} OFFSET {MANY} LIMIT 1"
            if may_restore and not is_guarded and not query(has_many):
                tables.append(f"WHEN {oid} THEN {self._table(name, *about)}")
            else:
                remade.append(str(oid))
        sequences = [self._sequence(*about) for about in query(SEQUENCES)]
        large_objects = query("SELECT oid::bigint FROM pg_largeobject_metadata")
        query(
            "CREATE TEMPORARY TABLE pristine AS"
            f" SELECT {IDENTITY} AS identity FROM pg_class WHERE oid >= {FIRST}"
        )
        ((top,),) = query("SELECT 'pg_temp.pristine'::regclass::oid::bigint")
        ((number,),) = query(f"SELECT sum(number) FROM ({catalogs(top, age='0')}) catalogs")
        changed = catalogs(top)
        query(
            FUNCTION.format(
                mark=MARK,
                description=DESCRIPTION,
                written=WRITTEN,
                begin=BEGIN,
                altered=f"SELECT sum(number) <> {number} OR bool_or(is_new) FROM ({changed}) c",
                remade=", ".join(remade),
                tables=" ".join(tables),
                large_objects="".join(f", {oid}" for (oid,) in large_objects),
                sequences=" ".join(sequences),
            )
        )
        query(f"SELECT {BEGIN}")

    def _table(self, table: str, size: int, columns: str) -> str:
        """Return how to restore `table`, which has `size` bytes and these `columns`, in SQL."""
        restore = f"DELETE FROM ONLY {table};"
        if self._connection.query(f"SELECT 1 FROM ONLY {table} LIMIT 1"):
            copy = f"pg_temp.copy_{zlib.crc32(table.encode())}"
            self._connection.query(
                f"CREATE TEMPORARY TABLE {copy} AS SELECT {columns} FROM ONLY {table}"
            )
            restore += (
                f" INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE"
                f" SELECT {columns} FROM {copy};"
            )
        return (
            f"{restore} IF pg_relation_size({literal(table)}) > {2 * size + SPARE} THEN"
            f" bloated := bloated || {literal(table)}::text; END IF;"
        )

    def _sequence(self, sequence: str, cache: int) -> str:
        """Return how to set `sequence` back if it has been used, in SQL."""
        query = f"SELECT last_value, is_called FROM {sequence}"
        ((value, is_called),) = self._connection.query(query)
        return (
            f"IF ({value}, {is_called}) <> ({query}) THEN"
            f" PERFORM setval({literal(sequence)}, {value}, {is_called});"
            f"{' is_cached := true;' if cache > 1 else ''} END IF;"
        )

    def _call_function(self) -> tuple[str, bool, bool, list[str]]:
        """Call the function; wait for a while for transactions to end.

        Returns:
            Which transactions are open; whether more than rows was altered; whether connections may
            have ids of a sequence in store; the tables that have too many dead rows.
        """
        deadline = time.monotonic() + TRANSACTION_TIMEOUT
        outcome: tuple[str, bool, bool, list[str]]
        while True:
            try:
                (outcome,) = self._connection.query("SELECT * FROM pg_temp.reset_database()")
            except ServerError:
                ((is_here,),) = self._connection.query(IS_HERE)
                if not is_here:  # the session is another one, as the server was restarted
                    return "", True, False, []
                ((description,),) = self._connection.query(DESCRIPTION)
                if not description:
                    raise
                outcome = description, False, False, []  # somebody holds a lock
            if not outcome[0] or time.monotonic() > deadline:
                return outcome
            time.sleep(0.02)


def catalogs(top: int, age: str = "age_of_test") -> str:
    """Return a query: how many old rows each catalog has, and whether it has a new one that counts.

    Args:
        top: the first `oid` that is given to something new.
        age: that of the last transaction before the test.
    """
    queries = []
    for catalog, counts in CATALOGS.items():
        key = KEYS.get(catalog, "oid")
        first = PUBLIC if catalog == "pg_namespace" else FIRST
        queries.append(
            f"SELECT count(*) FILTER (WHERE {key} < {top}) AS number,"
            f" bool_or(age(xmin) < {age} AND {counts}) AS is_new"
            f" FROM {catalog} WHERE {key} >= {first}"
        )
    return " UNION ALL ".join(queries)


def literal(value: str) -> str:
    """Return `value` as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
