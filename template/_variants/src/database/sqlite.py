"""The engine, the session factory and the session of a request, made in one place."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from .settings import settings

# `timeout`: seconds to wait for another writer before "database is locked".
engine = create_async_engine(settings.database_url, connect_args={"timeout": 5})

READ = re.compile(
    r"\s*(SELECT|VALUES|PRAGMA|EXPLAIN|WITH(?!.*\b(INSERT|UPDATE|DELETE)\b))\b",
    re.IGNORECASE | re.DOTALL,
)

# Attributes stay loaded after a commit: refreshing them would be I/O where nobody awaits it.
session_factory = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def configure_connection(connection: DBAPIConnection, _: object) -> None:
    """Enforce foreign keys, and let readers and the writer work side by side (WAL)."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


@event.listens_for(engine.sync_engine, "invalidate")
def release_write_lock(connection: DBAPIConnection, *_: object) -> None:
    """Roll back before the connection of a cancelled request is closed.

    Closing is not enough: while anything refers to a cursor, SQLite keeps the transaction.
    https://www.sqlite.org/c3ref/close.html
    """
    connection.rollback()


@event.listens_for(engine.sync_engine, "begin")
def forget_write_lock(connection: Connection) -> None:
    """A new transaction begins without the write lock."""
    connection.info["has_write_lock"] = False


@event.listens_for(engine.sync_engine, "before_cursor_execute")
def take_write_lock(
    connection: Connection,
    cursor: DBAPICursor,
    statement: str,
    parameters: Any,
    context: ExecutionContext | None,
    executemany: bool,
) -> None:
    """Begin the transaction with the first statement that writes, or that reads `FOR UPDATE`.

    The driver's own control begins with INSERT, UPDATE and DELETE only, so that a SAVEPOINT would
    be a transaction of its own; and it begins without the lock, so that of two transactions that
    read before they write one fails at once. With `BEGIN IMMEDIATE` the second waits, and reads
    show what is committed, as READ COMMITTED does elsewhere.
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    """
    if connection.info.get("has_write_lock") or is_autocommit(connection):
        return
    invoked = context.invoked_statement if context else None
    if not READ.match(statement) or getattr(invoked, "_for_update_arg", None) is not None:
        cursor.execute("BEGIN IMMEDIATE")
        connection.info["has_write_lock"] = True


def is_autocommit(connection: Connection) -> bool:
    """Tell whether each statement of `connection` is to be a transaction of its own."""
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield the session of one request. What is not committed when it ends is rolled back."""
    async with session_factory() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
