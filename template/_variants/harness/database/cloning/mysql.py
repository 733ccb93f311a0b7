"""Cloning a database: MariaDB and MySQL have no statement for it, so each object is copied."""

from collections import deque
from typing import Final

from ..errors import ServerError
from .admin import AdminConnection
from .server import MARK, Server

OBJECTS: Final = """
    SELECT 'SEQUENCE', table_name FROM information_schema.tables
        WHERE table_schema = '{name}' AND table_type = 'SEQUENCE'
    UNION ALL SELECT 'TABLE', table_name FROM information_schema.tables
        WHERE table_schema = '{name}' AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
    UNION ALL SELECT routine_type, routine_name FROM information_schema.routines
        WHERE routine_schema = '{name}'
    UNION ALL SELECT 'VIEW', table_name FROM information_schema.views
        WHERE table_schema = '{name}' AND table_name <> '{mark}'
    UNION ALL SELECT 'TRIGGER', trigger_name FROM information_schema.triggers
        WHERE trigger_schema = '{name}'
    UNION ALL SELECT 'EVENT', event_name FROM information_schema.events
        WHERE event_schema = '{name}'
"""
"""The objects of a database, in an order in which they can be created."""
COLUMNS: Final = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = '{name}' AND table_name = {table} AND extra NOT LIKE '%GENERATED%'
    ORDER BY ordinal_position
"""
"""The columns of a table that can be written."""

SQL_MODE: Final = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
"""Accept 0 in an AUTO_INCREMENT column."""
SETTINGS: Final = ("SET SESSION foreign_key_checks = 0", SQL_MODE)
"""Accept tables in any order, too."""


def is_complete(server: Server, name: str) -> bool:
    """Tell whether the database `name` exists and its cloning was not interrupted."""
    return server.mark(name) == (server.package, 1)


def clone(server: Server, source: str, name: str) -> None:
    """Create the database `name` as a copy of `source`.

    Raises:
        HarnessError: it exists, and the harness has not created it; or it cannot be created.
    """
    server.drop(name)  # if its cloning was interrupted
    server.create(name)
    connection = AdminConnection(server.database_url(name), SETTINGS)
    try:
        objects = deque(connection.query(OBJECTS.format(name=source, mark=MARK)))
        postponed = 0  # views since the last copy: one may need another that comes later
        while objects:
            kind, object_name = objects.popleft()
            try:
                copy(connection, source, kind, object_name)
                postponed = 0
            except ServerError:
                if kind != "VIEW" or postponed > len(objects):
                    raise
                objects.append((kind, object_name))
                postponed += 1
    finally:
        connection.close()
    server.set_mark(name, is_complete=1)


def copy(connection: AdminConnection, source: str, kind: str, name: str) -> None:
    """Copy one object of the database `source` to the database of `connection`."""
    original = f"{quoted(source)}.{quoted(name)}"
    (created,) = connection.query(f"SHOW CREATE {kind} {original}")
    position = next(n for n in range(1, len(created)) if str(created[n]).startswith("CREATE"))
    # What code does depends on the session that has created it: it stands around the statement.
    settings = dict(zip(("sql_mode", "time_zone"), created[1:position], strict=False))
    if after := created[position + 1 :]:
        _, settings["collation_connection"], *_ = after
    for setting, value in settings.items():
        connection.query(f"SET SESSION {setting} = {literal(value)}")
    connection.query(created[position].replace(f"{quoted(source)}.", ""))
    if "sql_mode" in settings:
        connection.query(SQL_MODE)
    if kind == "SEQUENCE":
        ((value,),) = connection.query(f"SELECT next_not_cached_value FROM {original}")
        connection.query(f"DO SETVAL({quoted(name)}, {value}, 0)")
    elif kind == "TABLE":
        rows = connection.query(COLUMNS.format(name=source, table=literal(name)))
        columns = ", ".join(quoted(column) for (column,) in rows)
        connection.query(f"INSERT INTO {quoted(name)} ({columns}) SELECT {columns} FROM {original}")


def literal(value: str) -> str:
    """Return `value` as an SQL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"
