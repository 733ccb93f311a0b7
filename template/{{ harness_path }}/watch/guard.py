"""The proxy between SQLAlchemy's pool and a DBAPI connection, and what is known of that."""

from __future__ import annotations

import asyncio
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only, greenlet_spawn

from ..errors import HarnessError, WrongLoopError
from .tasks import create_task
from .who import running_loop

STATEMENT: Final = "tests.harness: last statement"
"""Where a connection's `info` has the last statement of an open transaction."""
COMMIT_FIRST: Final = "Commit first. Still open: "
"""How a note begins on an error that such a transaction may have caused."""

UNWANTED: Final[set[asyncio.Task[Any]]] = set()
"""Tasks that connect for somebody who has been cancelled."""
ABANDONED: Final[list[Any]] = []
"""Connections that nothing can close; kept, for the garbage collector would try, and complain."""


@dataclass(eq=False)
class ConnectionState:
    """What is known of a connection."""

    entry: ConnectionPoolEntry
    loop: asyncio.AbstractEventLoop | None  # None: a sync engine's, which needs no loop
    opened_by: str
    refusal: Callable[[ConnectionState], HarnessError]  # what is said to who may not use it
    connections: set[GuardedConnection]  # all that are open
    thread: int = field(default_factory=threading.get_ident)
    checked_out: PoolProxiedConnection | None = None  # kept, or it would be garbage-collected
    checked_out_by: str = ""
    test_has_ended: bool = False  # the test that had it checked out


class GuardedConnection:
    """A DBAPI connection for one loop, and for nobody who keeps it beyond the end of a test."""

    guarded: Any
    state: ConnectionState

    def __init__(self, guarded: Any, state: ConnectionState) -> None:
        vars(self).update(guarded=guarded, state=state)  # assignments go to what is guarded

    def __getattr__(self, name: str) -> Any:
        if self.state.test_has_ended or self.state.loop not in (None, running_loop()):
            raise self.state.refusal(self.state)
        return getattr(self.guarded, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.guarded, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The guarded connection's: drivers ask what they are given."""
        return self.guarded.__class__  # type: ignore[no-any-return]

    def rollback(self) -> None:
        """Roll back. What was closed when its test ended has been rolled back already."""
        if not self.state.test_has_ended:
            self.__getattr__("rollback")()

    def close(self) -> None:
        """Close the connection, on the loop where it works."""
        self.state.connections.discard(self)
        loop = self.state.loop
        end = getattr(self.guarded, "terminate", self.guarded.close)
        if loop is None or loop is running_loop():
            end()
        elif loop.is_closed():
            ABANDONED.append(self.guarded)
        else:
            asyncio.run_coroutine_threadsafe(greenlet_spawn(end), loop)

    terminate = close


def connect(dialect: Dialect, args: list[Any], options: dict[str, Any]) -> Any:
    """Connect as `dialect` does, and to the end, even if who waits for it is cancelled.

    A driver that is interrupted may leave behind what still works when the test is over.
    """
    if not dialect.is_async:
        return dialect.connect(*args, **options)
    opening = create_task(greenlet_spawn(dialect.connect, *args, **options))
    try:
        return await_only(asyncio.shield(opening))
    except asyncio.CancelledError:
        UNWANTED.add(opening)
        raise


async def close(connection: GuardedConnection) -> None:
    """Close `connection`; its pool replaces it."""
    entry = connection.state.entry
    is_detached = entry.dbapi_connection is not connection
    with suppress(WrongLoopError):  # by listeners that still want to use it
        await greenlet_spawn(connection.terminate if is_detached else entry.invalidate)


def info_of(connection: Connection) -> dict[Any, Any]:
    """Return the `info` of `connection`, if it has one: that of an engine's first look has none."""
    try:
        return connection.info
    except NotImplementedError:  # SQLAlchemy would catch it, and lose a task's cancellation
        return {}


def describe(state: ConnectionState) -> str:
    """Return what is open of a connection, and who has checked it out."""
    if statement := state.entry.info.get(STATEMENT):
        return f"a transaction of {state.checked_out_by}, after {shorten(statement)!r}"
    return f"a connection of {state.checked_out_by}"


def shorten(statement: str) -> str:
    """Return the beginning of `statement`, on one line."""
    return textwrap.shorten(statement, width=100, placeholder=" ...")
