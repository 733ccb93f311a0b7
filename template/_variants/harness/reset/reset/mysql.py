"""Returns the database to its original state, by one call of a generated procedure.

The procedure knows all tables. It empties those that had no rows and now have some, restores
reference data that has changed, and resets counters that have been used. It reads the tables
themselves, so it sees every write: raw SQL, triggers, cascades, other connections. InnoDB says when
a table was written to last, to the second, so that reference data is not read for nothing.
"""

import secrets
import zlib
from contextlib import suppress
from typing import Final

from ..database.admin import AdminConnection
from ..database.cloning import literal, quoted
from ..database.lifecycle import Database
from ..database.prepared import renew
from ..errors import LeakError, ServerError
from .changes import ALTERED, CANCELLED

TRANSACTION_TIMEOUT: Final = 3
"""Seconds that a transaction may go on after its test, such as that of a connection just closed."""

SETTINGS: Final = (
    # So it sees what another transaction has not committed, and waits for that.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    f"SET SESSION innodb_lock_wait_timeout = {TRANSACTION_TIMEOUT}",
    f"SET SESSION lock_wait_timeout = {TRANSACTION_TIMEOUT}",
    # Accept tables in any order, and 0 in an AUTO_INCREMENT column.
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
    "SET SESSION group_concat_max_len = 1000000",
)

TABLES: Final = """
    SELECT table_name, table_type = 'SYSTEM VERSIONED', auto_increment
    FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""

SEQUENCES: Final = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE'
"""

COLUMNS: Final = """
    SELECT column_name, extra LIKE 'auto_increment%', data_type = 'float'
    FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = {table} AND extra NOT LIKE '%GENERATED%'
"""
"""The columns of a table that can be written."""

TRIGGERS: Final = """
    SELECT trigger_name FROM information_schema.triggers
    WHERE event_object_schema = DATABASE() AND event_object_table = {table}
    AND event_manipulation = '{event}'
"""

SCHEMA: Final = """
    SELECT SUM(CRC32(CONCAT_WS(' ', table_name, column_name, column_type, is_nullable)))
    FROM information_schema.columns WHERE table_schema = DATABASE()
"""
"""A number that changes when a table is created, altered or dropped."""

ROWS: Final = """
    SELECT CONCAT_WS(' ', COUNT(*),
        SUM(CAST(CONV(LEFT(MD5(CONCAT_WS(' ', {values})), 15), 16, 10) AS UNSIGNED))) FROM {table}
"""
"""A text that changes when a row is inserted, updated or deleted."""

OPEN_TRANSACTIONS: Final = """
    SELECT id, CONCAT('session ', id, ', ', command, ': ', COALESCE(info, 'no statement runs'))
    FROM information_schema.processlist
    WHERE db = DATABASE() AND id <> CONNECTION_ID()
    AND id IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx)
"""
"""The other connections that have a transaction open."""

WRITTEN: Final = """
    engine <> 'InnoDB' OR COALESCE(GREATEST(create_time, update_time) >= @verified, TRUE)
"""
"""Whether anything may have been committed to a table since this was asked last. (Of a table that
is truncated, MariaDB does not say so.)"""

MAKE_ANEW: Final = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'altered'"
PROCEDURE: Final = """
    CREATE PROCEDURE {name}() BEGIN
        DECLARE started DATETIME DEFAULT NOW();
        DECLARE used, written LONGTEXT;
        SELECT
                GROUP_CONCAT(CONCAT('`', table_name, '` ', NULLIF(auto_increment, 1), ';')),
                GROUP_CONCAT(IF({written}, CONCAT('`', table_name, '`;'), ''))
            INTO used, written
            FROM information_schema.tables WHERE table_schema = DATABASE();
        IF ({schema}) <> {fingerprint} THEN
            {signal};
        END IF;
        {steps}
        SET @verified = started;
    END
"""


class Reset:
    """Returns a database to its original state after each test."""

    def __init__(self, database: Database) -> None:
        """Record the original state of `database`, before any test."""
        self._database = database
        self._name = f"reset_{secrets.token_hex(4)}"  # there may be several
        self.is_renewed = False  # which undoes more than `run` is to undo, if levels are kept
        self._open()

    def run(self) -> bool:
        """Return the database to its original state.

        Returns:
            Whether the database had to be created again, since a test has altered its schema. That
            ends all connections.

        Raises:
            LeakError: a transaction was open. It has been ended, and the database is reset.
        """
        is_altered = bool(ALTERED)
        ALTERED.clear()
        while CANCELLED:
            with suppress(ServerError):  # it has ended already
                self._connection.query(f"KILL {CANCELLED.pop()}")
        try:
            self._connection.query(f"CALL {self._name}()")
        except ServerError:
            if transactions := self._connection.query(OPEN_TRANSACTIONS):
                for connection_id, _ in transactions:
                    with suppress(ServerError):  # it has ended already
                        self._connection.query(f"KILL {connection_id}")
                self.renew()
                description = "; ".join(description for _, description in transactions)
                raise LeakError(
                    f"This test has left a transaction open, not in a pool: {description}"
                ) from None
            is_altered = True  # the procedure has signalled it, or fails on the tables
        if is_altered:
            self.renew()
        return is_altered

    def renew(self) -> None:
        """Create the database again; all its connections end."""
        self.close()
        renew(self._database)
        self._open()
        self.is_renewed = True

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _open(self) -> None:
        """Connect, copy the reference data, and create the procedure."""
        self._connection = AdminConnection(self._database.url)
        query = self._connection.query
        for setting in SETTINGS:
            query(setting)
        if self._database.server.version.startswith("MySQL"):
            query("SET SESSION information_schema_stats_expiry = 0")  # or it tells of yesterday
        steps = [self._table(*table) for table in query(TABLES)]
        # Restoring comes first: its triggers may write to a table that is emptied afterwards.
        steps.sort(key=lambda step: " INSERT INTO " not in step)
        steps += [self._sequence(name) for (name,) in query(SEQUENCES)]
        ((fingerprint,),) = query(SCHEMA)
        query(
            PROCEDURE.format(
                name=self._name,
                signal=MAKE_ANEW,
                written=WRITTEN,
                schema=SCHEMA,
                fingerprint=fingerprint,
                steps="\n".join(steps),
            )
        )

    def _table(self, name: str, is_versioned: int, counter: int | None) -> str:
        """Return the statements that reset the table `name` if it has changed."""
        table = quoted(name)
        history, empty = table, f"TRUNCATE TABLE {table};"
        if is_versioned:  # https://mariadb.com/kb/en/system-versioned-tables/
            history = f"{table} FOR SYSTEM_TIME ALL"
            empty = f"DELETE FROM {table}; DELETE HISTORY FROM {table};"
            if counter is not None:
                empty += f" ALTER TABLE {table} AUTO_INCREMENT = 1;"
        query = self._connection.query
        rows = query(COLUMNS.format(table=literal(name)))
        columns = [quoted(column) for column, _, _ in rows]
        exact = [quoted(column) + " + 0e0" * is_float for column, _, is_float in rows]
        values = (f"COALESCE(HEX(CAST({value} AS BINARY)), '-')" for value in exact)
        content = ROWS.format(table=history, values=", ".join(values))
        ((original,),) = query(content)
        if original == "0":
            return (
                f"IF LOCATE({literal(table)}, used) OR EXISTS (SELECT 1 FROM {history})"
                f" THEN {empty} END IF;"
            )
        copy = quoted(f"copy_{zlib.crc32(name.encode())}")
        names = ", ".join(columns)
        query(f"CREATE TEMPORARY TABLE {copy} AS SELECT {names} FROM {table}")
        delete_new, restore_counter = "", ""
        restore = f"{empty} INSERT INTO {table} ({names}) SELECT {names} FROM {copy};"
        if query(TRIGGERS.format(table=literal(name), event="INSERT")):
            restore = f"{MAKE_ANEW};"  # they would run again
        is_listed = f"LOCATE({literal(f'{table};')}, written)"
        may_be_written = f"({is_listed} OR NOT EXISTS (SELECT 1 FROM {table}))"
        if counter is not None:
            set_counter = f"ALTER TABLE {table} AUTO_INCREMENT = {counter};"
            is_used = f"NOT LOCATE({literal(f'{table} {counter};')}, used)"
            restore_counter = f"{set_counter} ELSEIF {is_used} THEN {set_counter}"
            if not is_versioned and not query(TRIGGERS.format(table=literal(name), event="DELETE")):
                (key,) = (quoted(column) for column, is_counted, _ in rows if is_counted)
                # The old rows are often as they were, and need not be written anew.
                delete = f"DELETE FROM {table} WHERE {key} >= {counter};"
                delete_new = f"IF {may_be_written} THEN {delete} END IF;"
        is_changed = f"{may_be_written} AND ({content}) <> {literal(original)}"
        return f"{delete_new} IF {is_changed} THEN {restore} {restore_counter} END IF;"

    def _sequence(self, name: str) -> str:
        """Return the statement that resets the sequence `name` if it has changed."""
        sequence = quoted(name)
        query = f"SELECT next_not_cached_value FROM {sequence}"
        ((value,),) = self._connection.query(query)
        return (
            f"IF ({query}) <> {value} THEN ALTER SEQUENCE {sequence} RESTART WITH {value}; END IF;"
        )
