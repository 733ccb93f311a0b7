"""Cloning a database: MariaDB and MySQL have no statement for it, so it is made thing by thing."""

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
"""What a database consists of, in an order in which it can be created."""
COLUMNS: Final = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = '{name}' AND table_name = {table} AND extra NOT LIKE '%GENERATED%'
    ORDER BY ordinal_position
"""
"""The columns of a table that can be written."""


SETTINGS: Final = (
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
)
"""Neither the order of tables nor what is in a row matters."""


def is_complete(server: Server, name: str) -> bool:
    """Tell whether the database `name` is there, as it was meant to be."""
    return server.mark(name) == (server.key, 1)


def clone(server: Server, source: str, name: str) -> None:
    """Create the database `name` as a copy of `source`.

    Raises:
        ServerError: it exists, or cannot be created.
    """
    server.create(name)
    connection = AdminConnection(server.database_url(name), SETTINGS)
    try:
        things = deque(connection.query(OBJECTS.format(name=source, mark=MARK)))
        waiting = 0  # views for others, which nothing puts in order
        while things:
            kind, thing = things.popleft()
            try:
                copy(connection, source, kind, thing)
                waiting = 0
            except ServerError:
                if kind != "VIEW" or waiting > len(things):
                    raise
                things.append((kind, thing))
                waiting += 1
    finally:
        connection.close()
    server.set_mark(name, is_complete=1)


def copy(connection: AdminConnection, source: str, kind: str, name: str) -> None:
    """Copy one thing of the database `source` to the one of `connection`."""
    thing = f"{quoted(source)}.{quoted(name)}"
    (created,) = connection.query(f"SHOW CREATE {kind} {thing}")
    statement = next(part for part in created[1:] if str(part).startswith("CREATE"))
    connection.query(statement.replace(f"{quoted(source)}.", ""))
    if kind == "SEQUENCE":
        ((value,),) = connection.query(f"SELECT next_not_cached_value FROM {thing}")
        connection.query(f"DO SETVAL({quoted(name)}, {value}, 0)")
    elif kind == "TABLE":
        rows = connection.query(COLUMNS.format(name=source, table=literal(name)))
        columns = ", ".join(quoted(column) for (column,) in rows)
        connection.query(f"INSERT INTO {quoted(name)} ({columns}) SELECT {columns} FROM {thing}")


def literal(value: str) -> str:
    """Return `value` as a literal of SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return `name` as an identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"
