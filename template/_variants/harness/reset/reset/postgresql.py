"""Returns the database to its original state, by one call of a generated function.

Triggers note which tables are written to, by any means: raw SQL, functions, cascades, COPY, other
connections. The function empties those tables, copies their original rows back, and resets the
sequences that have been used; so its cost depends on what a test has written, not on what is
there. If a catalog has a newer row, a test has altered more than rows, and the database is created
again.
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
"""Seconds that a transaction may go on after its test, such as that of a connection just closed."""
MAX_ROWS: Final = 10_000
"""Rows of a table that can be restored; with more, the database is created again instead."""
MAX_BLOAT: Final = 2**17
"""Bytes by which a table may grow before its dead rows are vacuumed."""

SETTINGS: Final = (
    f"SET lock_timeout = '{TRANSACTION_TIMEOUT}s'",
    "SET row_security = off",  # an error instead of hidden rows
    "SET plan_cache_mode = force_generic_plan",
)
DISABLE_TRIGGERS: Final = "SET session_replication_role = replica"
"""For this connection, so foreign keys do not restrict the order of tables either."""

USER_RELATIONS: Final = f"""
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^(pg_|information_schema$|{MARK}$)' AND relpersistence <> 't'
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
        AND deptype = 'e'
    )
"""
"""Relations that are not the system's, not an extension's, and not temporary."""

NOTE_WRITES: Final = f"""
    DO $do$
    DECLARE name text;
    BEGIN
        IF to_regclass('{MARK}.writes') IS NOT NULL THEN
            RETURN;
        END IF;
        CREATE UNLOGGED TABLE {MARK}.writes (relation oid);
        CREATE FUNCTION {MARK}.note_write() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER AS $function$
        BEGIN
            IF tg_relid = '{MARK}.writes'::regclass THEN  -- somebody empties all that there is
                INSERT INTO {MARK}.writes SELECT tgrelid FROM pg_trigger WHERE tgname = '{MARK}';
            ELSE
                INSERT INTO {MARK}.writes VALUES (tg_relid);
            END IF;
            RETURN NULL;
        END $function$;
        CREATE TRIGGER {MARK} AFTER TRUNCATE ON {MARK}.writes
            EXECUTE FUNCTION {MARK}.note_write();
        FOR name IN
            SELECT format('%I.%I', nspname, relname) {USER_RELATIONS} AND relkind IN ('r', 'p')
        LOOP
            EXECUTE 'CREATE TRIGGER {MARK} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON '
                || name || ' EXECUTE FUNCTION {MARK}.note_write()';
            EXECUTE 'ALTER TABLE ' || name || ' ENABLE ALWAYS TRIGGER {MARK}';
        END LOOP;
    END $do$
"""
"""Triggers that note each statement that writes, as part of its transaction."""

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
    {USER_RELATIONS} AND relkind = 'r'
"""
"""All tables and partitions, each with its size, the columns that can be written, and whether it
cannot be restored: it has triggers or rules that stay enabled for this connection, or checks that
its rows, or their order, may violate."""

SEQUENCES: Final = f"""
    SELECT format('%I.%I', nspname, relname), seqcache
    {USER_RELATIONS.replace("WHERE", "JOIN pg_sequence ON seqrelid = pg_class.oid WHERE", 1)}
"""

IDENTITY: Final = """concat_ws(' ', oid, relname, relnamespace, relowner, relam, reltablespace,
    relkind, relnatts, relchecks, relrowsecurity, relforcerowsecurity, relreplident, relispartition,
    relacl, reloptions, CASE relkind WHEN 'm' THEN xmin END)"""
"""A text that TRUNCATE does not change, but ALTER does, and REFRESH of a materialized view."""

OF_TABLE: Final = "(SELECT relpersistence <> 't' FROM pg_class WHERE pg_class.oid = {})"
OF_SCHEMA: Final = "(SELECT nspname !~ '^pg_' FROM pg_namespace WHERE pg_namespace.oid = {})"
CATALOGS: Final = {
    "pg_class": (
        f"{IDENTITY} NOT IN (SELECT identity FROM pg_temp.original) AND relpersistence <> 't'"
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
"""The catalogs of what a test may create, alter or drop, each with the condition on which a new row
counts: not one of a temporary table."""
KEYS: Final = {"pg_attribute": "attrelid", "pg_sequence": "seqrelid", "pg_description": "objoid"}
"""Their keys, if not `oid`."""
FIRST: Final = 16384
"""The first `oid` that is not the system's."""
PUBLIC: Final = 2200
"""The `oid` of the schema `public`, which is the system's; its privileges are not."""

OPEN_TRANSACTIONS: Final = """
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
"""The other sessions that have a transaction open."""

DESCRIBE_TRANSACTIONS: Final = (
    "SELECT string_agg(format('session %s, %s: %s', pid, state, query), '; ')" + OPEN_TRANSACTIONS
)

BEGIN_TEST: Final = f"set_config('{MARK}.begin', pg_current_xact_id()::xid::text, false)"
"""Record that all later transactions belong to the test."""

FUNCTION_EXISTS: Final = "SELECT to_regproc('pg_temp.reset_database') IS NOT NULL"
FUNCTION: Final = """
    CREATE FUNCTION pg_temp.reset_database(
        OUT open_transactions text, OUT is_altered bool, OUT is_cached bool, OUT bloated text[]
    ) LANGUAGE plpgsql AS $function$
    #variable_conflict use_column
    DECLARE
        age_of_test int := age(current_setting('{mark}.begin')::xid);
        written oid[];
        relation oid;
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
        is_altered := written && ARRAY[{not_restorable}]::oid[];
        IF is_altered THEN
            RETURN;
        END IF;
        FOREACH relation IN ARRAY written LOOP
            CASE relation WHEN 0 THEN NULL; {tables} ELSE NULL; END CASE;
        END LOOP;
        {sequences}
        PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid NOT IN (0{large_objects});
        DELETE FROM {mark}.writes;
        PERFORM {begin};
    END $function$
"""


class Reset:
    """Returns a database to its original state after each test."""

    def __init__(self, database: Database) -> None:
        """Record the original state of `database`, before any test."""
        self._database = database
        self.is_renewed = False  # which undoes more than `run` is to undo, if levels are kept
        self._open()

    def run(self) -> bool:
        """Return the database to its original state.

        Returns:
            Whether connections have to be closed: the database was created again, since a test has
            altered more than rows, or this role may not disable triggers; or they have cached
            values of a sequence.

        Raises:
            LeakError: a transaction was open. It has been ended, and the database is reset.
            ServerError: rows could not be restored. The database has been created again instead.
        """
        try:
            open_transactions, was_altered, is_cached, bloated = self._call_function()
        except ServerError:
            self.renew()
            raise
        if open_transactions:
            self._connection.query(f"SELECT pg_terminate_backend(pid, 5000) {OPEN_TRANSACTIONS}")
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
        """Create the database again; all its connections end."""
        self.close()
        renew(self._database)
        self._open()
        self.is_renewed = True

    def close(self) -> None:
        """Disconnect. What was written before this has recorded the state is noted again."""
        if self._written:
            values = ", ".join(f"({relation})" for relation in self._written)
            with suppress(ServerError):  # the database may be gone
                self._connection.query(f"INSERT INTO {MARK}.writes VALUES {values}")
        self._connection.close()

    def _open(self) -> None:
        """Connect, create the triggers, copy the reference data, and create the function."""
        self._connection = AdminConnection(self._database.url, SETTINGS)
        query = self._connection.query
        may_restore = False  # since this role may not disable triggers
        with suppress(ServerError):
            query(DISABLE_TRIGGERS)
            may_restore = True
        query(NOTE_WRITES)
        written = query(f"DELETE FROM {MARK}.writes RETURNING relation::bigint")
        self._written = {relation for (relation,) in written}
        not_restorable, tables = [], []
        for oid, name, *about, is_protected in query(TABLES):
            has_many = f"SELECT 1 FROM ONLY {name} OFFSET {MAX_ROWS} LIMIT 1"
            if may_restore and not is_protected and not query(has_many):
                tables.append(f"WHEN {oid} THEN {self._table(name, *about)}")
            else:
                not_restorable.append(str(oid))
        sequences = [self._sequence(*about) for about in query(SEQUENCES)]
        large_objects = query("SELECT oid::bigint FROM pg_largeobject_metadata")
        query(
            "CREATE TEMPORARY TABLE original AS"
            f" SELECT {IDENTITY} AS identity FROM pg_class WHERE oid >= {FIRST}"
        )
        ((top,),) = query("SELECT 'pg_temp.original'::regclass::oid::bigint")
        ((number,),) = query(f"SELECT sum(number) FROM ({catalogs(top, age='0')}) catalogs")
        changed = catalogs(top)
        query(
            FUNCTION.format(
                mark=MARK,
                description=DESCRIBE_TRANSACTIONS,
                written=WRITTEN,
                begin=BEGIN_TEST,
                altered=f"SELECT sum(number) <> {number} OR bool_or(is_new) FROM ({changed}) c",
                not_restorable=", ".join(not_restorable),
                tables=" ".join(tables),
                large_objects="".join(f", {oid}" for (oid,) in large_objects),
                sequences=" ".join(sequences),
            )
        )
        query(f"SELECT {BEGIN_TEST}")

    def _table(self, table: str, size: int, columns: str) -> str:
        """Return the SQL that restores `table`, which has `size` bytes and these `columns`."""
        restore = f"DELETE FROM ONLY {table};"
        ((number,),) = self._connection.query(f"SELECT count(*) FROM ONLY {table}")
        if number:
            copy = f"pg_temp.copy_{zlib.crc32(table.encode())}"
            self._connection.query(
                f"CREATE TEMPORARY TABLE {copy} AS SELECT {columns} FROM ONLY {table}"
            )
            is_new = "age(xmin) < age_of_test"
            restore = (
                f"IF (SELECT count(*) FROM ONLY {table} WHERE NOT {is_new}) = {number} THEN"
                f" DELETE FROM ONLY {table} WHERE {is_new}; ELSE"
                f" {restore} INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE"
                f" SELECT {columns} FROM {copy}; END IF;"
            )
        return (
            f"{restore} IF pg_relation_size({literal(table)}) > {2 * size + MAX_BLOAT} THEN"
            f" bloated := bloated || {literal(table)}::text; END IF;"
        )

    def _sequence(self, sequence: str, cache: int) -> str:
        """Return the SQL that resets `sequence` if it has been used."""
        query = f"SELECT last_value, is_called FROM {sequence}"
        ((value, is_called),) = self._connection.query(query)
        return (
            f"IF ({value}, {is_called}) <> ({query}) THEN"
            f" PERFORM setval({literal(sequence)}, {value}, {is_called});"
            f"{' is_cached := true;' if cache > 1 else ''} END IF;"
        )

    def _call_function(self) -> tuple[str, bool, bool, list[str]]:
        """Call the function; wait for open transactions to end.

        Returns:
            Which transactions are still open; whether more than rows was altered; whether
            connections may have cached values of a sequence; tables that have too many dead rows.
        """
        deadline = time.monotonic() + TRANSACTION_TIMEOUT
        outcome: tuple[str, bool, bool, list[str]]
        while True:
            try:
                (outcome,) = self._connection.query("SELECT * FROM pg_temp.reset_database()")
            except ServerError:
                ((exists,),) = self._connection.query(FUNCTION_EXISTS)
                if not exists:  # in a new session, after the server was restarted
                    return "", True, False, []
                ((description,),) = self._connection.query(DESCRIBE_TRANSACTIONS)
                if not description:
                    raise
                outcome = description, False, False, []  # another session holds a lock
            if not outcome[0] or time.monotonic() > deadline:
                return outcome
            time.sleep(0.02)


def catalogs(top: int, age: str = "age_of_test") -> str:
    """Return a query: how many old rows each catalog has, and whether it has a new one that counts.

    Args:
        top: the first `oid` of new objects.
        age: the age of the last transaction before the test.
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
    """Return `value` as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
