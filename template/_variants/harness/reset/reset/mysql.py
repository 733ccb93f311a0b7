"""Returns the database to what it was before any test, by one call of a generated procedure.

The procedure knows all tables. It empties those that hold rows but held none, restores reference
data where it has changed, and sets back the counters that have been used. It looks at the tables
themselves, so it sees every writer: raw SQL, triggers, cascades, other connections.
"""

import zlib
from contextlib import suppress
from typing import Final

from ..database.admin import AdminConnection
from ..database.cloning import literal, quoted
from ..database.lifecycle import Database
from ..database.prepared import renew
from ..errors import LeakError, ServerError
from .changes import ALTERED

TRANSACTION_TIMEOUT: Final = 3
"""Seconds for a transaction to end after its test, such as that of a connection just closed."""

SETTINGS: Final = (
    # What another transaction has not committed is seen, and waited for.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    f"SET SESSION innodb_lock_wait_timeout = {TRANSACTION_TIMEOUT}",
    f"SET SESSION lock_wait_timeout = {TRANSACTION_TIMEOUT}",
    # Neither the order of tables nor what was in a row matters.
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
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = {table} AND extra NOT LIKE '%GENERATED%'
"""
"""The columns of a table that can be written."""

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

SESSIONS: Final = """
    SELECT id, CONCAT('session ', id, ', ', command, ': ', COALESCE(info, 'no statement runs'))
    FROM information_schema.processlist
    WHERE db = DATABASE() AND id <> CONNECTION_ID()
    AND id IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx)
"""
"""Who else has a transaction open."""

PROCEDURE: Final = """
    CREATE PROCEDURE reset_database() BEGIN
        DECLARE used LONGTEXT DEFAULT (
            SELECT GROUP_CONCAT(CONCAT('`', table_name, '` ', auto_increment, ';'))
            FROM information_schema.tables
            WHERE table_schema = DATABASE() AND auto_increment > 1
        );
        IF ({schema}) <> {fingerprint} THEN
            SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'altered';
        END IF;
        {tasks}
    END
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
            Whether its tables had to be made anew, since a test has altered them. Connections were
            closed for that.

        Raises:
            LeakError: a transaction was open. It has been ended; the database is what it was.
        """
        is_altered = bool(ALTERED)
        ALTERED.clear()
        try:
            self._connection.query("CALL reset_database()")
        except ServerError:
            if sessions := self._connection.query(SESSIONS):
                for number, _ in sessions:
                    with suppress(ServerError):  # it is gone already
                        self._connection.query(f"KILL {number}")
                self.renew()
                description = "; ".join(description for _, description in sessions)
                raise LeakError(
                    f"This test has left a transaction open, not in a pool: {description}"
                ) from None
            is_altered = True  # the procedure says so, or does not know the tables any more
        if is_altered:
            self.renew()
        return is_altered

    def renew(self) -> None:
        """Make the tables anew; nobody stays connected."""
        self.close()
        renew(self._database)
        self._open()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _open(self) -> None:
        """Connect, copy the reference data, and create the procedure."""
        self._connection = AdminConnection(self._database.url)
        query = self._connection.query
        for setting in SETTINGS:
            query(setting)
        tasks = [self._table(*table) for table in query(TABLES)]
        # What restores comes first: its triggers may write to a table that is emptied then.
        tasks.sort(key=lambda task: " INSERT INTO " not in task)
        tasks += [self._sequence(name) for (name,) in query(SEQUENCES)]
        ((fingerprint,),) = query(SCHEMA)
        query(PROCEDURE.format(schema=SCHEMA, fingerprint=fingerprint, tasks="\n".join(tasks)))

    def _table(self, name: str, is_versioned: int, counter: int | None) -> str:
        """Return what is to be done to the table `name`, and when, as statements."""
        table = quoted(name)
        history, empty = table, f"TRUNCATE TABLE {table};"
        if is_versioned:  # https://mariadb.com/kb/en/system-versioned-tables/
            history = f"{table} FOR SYSTEM_TIME ALL"
            empty = f"DELETE FROM {table}; DELETE HISTORY FROM {table};"
            if counter is not None:
                empty += f" ALTER TABLE {table} AUTO_INCREMENT = 1;"
        rows = self._connection.query(COLUMNS.format(table=literal(name)))
        columns = [quoted(column) for (column,) in rows]
        values = (f"COALESCE(HEX(CAST({column} AS BINARY)), '-')" for column in columns)
        content = ROWS.format(table=history, values=", ".join(values))
        ((pristine,),) = self._connection.query(content)
        if pristine == "0":
            return (
                f"IF LOCATE({literal(table)}, used) OR EXISTS (SELECT 1 FROM {history})"
                f" THEN {empty} END IF;"
            )
        copy = quoted(f"copy_{zlib.crc32(name.encode())}")
        names = ", ".join(columns)
        self._connection.query(f"CREATE TEMPORARY TABLE {copy} AS SELECT {names} FROM {table}")
        is_changed = f"({content}) <> {literal(pristine)}"
        restore = f"{empty} INSERT INTO {table} ({names}) SELECT {names} FROM {copy};"
        if counter is not None:
            is_changed += f" OR NOT LOCATE({literal(f'{table} {counter};')}, used)"
            restore += f" ALTER TABLE {table} AUTO_INCREMENT = {counter};"
        return f"IF {is_changed} THEN {restore} END IF;"

    def _sequence(self, name: str) -> str:
        """Return what is to be done to the sequence `name`, and when, as a statement."""
        sequence = quoted(name)
        query = f"SELECT next_not_cached_value FROM {sequence}"
        ((value,),) = self._connection.query(query)
        return (
            f"IF ({query}) <> {value} THEN ALTER SEQUENCE {sequence} RESTART WITH {value}; END IF;"
        )
