"""Opens the connections of a test, and ends what it has left open: connections, and tasks."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Engine, ExceptionContext, event
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from ..application import get_engine
from ..database.lifecycle import Database
from ..database.thread import is_harness
from ..errors import HarnessError, LeakError, OutsideTestError, WrongLoopError
from .guard import STATEMENT, UNWANTED, ConnectionState, GuardedConnection, close, connect, describe
from .loops import Loops, running_loop
from .tasks import CANCEL_TIMEOUT, cancel, other_tasks, still_running
from .who import Who, task_name

TASK_END_TIMEOUT: Final = 0.1
"""Seconds that a task may take to end by itself after its test."""

LOCKED: Final = re.compile(r"lock timeout|lock wait timeout|database is locked", re.IGNORECASE)
"""What a database says when a statement has waited too long for the transaction of another."""

Connect = Callable[[Dialect, list[Any], dict[str, Any]], Any]
"""Opens a DBAPI connection of a dialect with arguments and options."""


class Watch:
    """Watches over the connections to one database, and over one test at a time."""

    def __init__(self, database: Database, loops: Loops, who: Who) -> None:
        """Watch over `database`; errors name what `loops` and `who` know."""
        self._name = database.name  # no other has it
        self._loops = loops
        self._who = who
        self._thread = threading.get_ident()
        self._shared: Connect | None = None  # what opens connections for the test that runs
        self.connect: Connect = connect
        self.guard: Callable[[Any, ConnectionState], GuardedConnection] = GuardedConnection
        self.connections = set[GuardedConnection]()  # all that are open
        self.loop: asyncio.AbstractEventLoop | None = None  # of the test, while one runs
        self.tasks_before_phase = set[asyncio.Task[Any]]()  # the set-up, or the call
        self._tasks_before = set[asyncio.Task[Any]]()  # before the test
        self._connections_before = set[GuardedConnection]()  # before it
        event.listen(Engine, "do_connect", self._connect)
        event.listen(Pool, "checkout", self._check_out)
        event.listen(Pool, "checkin", self._check_in)
        event.listen(Engine, "before_cursor_execute", self._note_statement)
        event.listen(Engine, "commit", self._forget_statement)
        event.listen(Engine, "rollback", self._forget_statement)
        event.listen(Engine, "handle_error", self._explain_lock)

    @asynccontextmanager
    async def watch_test(self, shared: Connect | None = None) -> AsyncIterator[None]:
        """Watch over a test.

        Args:
            shared: what opens connections that share a real one, if they do.

        Raises:
            LeakError: it has left tasks running, or connections checked out.
            WrongLoopError: it has left connections in a pool that work on another loop.
            HarnessError: one that the code under test has caught.
        """
        HarnessError.raised.clear()
        self._shared, self.loop = shared, asyncio.get_running_loop()
        self.tasks_before_phase = self._tasks_before = asyncio.all_tasks()
        self._connections_before = {*self.connections}
        try:
            yield
        finally:
            raised = [*HarnessError.raised]
            try:
                await self.end_what_is_left()
            finally:
                self.loop = None
                HarnessError.raised.clear()
            for error in raised:
                if catcher := self._who.catcher(error):
                    error.add_note(f"The test did not see this: it was caught by {catcher}.")
                    raise error

    async def end_what_is_left(self) -> None:
        """End all that the test has left open so far.

        Raises:
            LeakError: it has left tasks running, or connections checked out.
            WrongLoopError: it has left connections in a pool that work on another loop.
        """
        leaks = [*await self._end_tasks(self._tasks_before), *await self._end_connections()]
        strays = await self._end_strays(self._connections_before)
        await self._end_unwanted()
        if leaks:
            raise LeakError("\n* ".join(("This test has left open", *leaks)))
        if strays:
            raise strays[0]

    def refuse_unguarded(self, connection: Connection) -> None:
        """Refuse a `connection` of the application's engine that this has not opened.

        Raises:
            HarnessError: it has not.
        """
        is_guarded = isinstance(connection.connection.dbapi_connection, GuardedConnection)
        if not is_guarded and not is_harness.get():
            connection.close()
            raise HarnessError(
                "The application's engine opens connections by a `creator` of its own, where the"
                " harness can neither isolate nor watch them. Let a listener for 'do_connect'"
                " change what the engine connects with."
            )

    async def close_connections(self) -> None:
        """Close what the pools of all engines keep open on this loop, and those of sync engines.

        So an engine may outlive its loops, or the database, and need not be disposed of.
        """
        for connection in [*self.connections]:
            if connection.state.loop in (None, asyncio.get_running_loop()):
                await close(connection)

    async def _end_tasks(self, before: set[asyncio.Task[Any]]) -> list[str]:
        """End the tasks that were not there `before`; describe those that do not end themselves."""
        running = await still_running(other_tasks() - before, after=TASK_END_TIMEOUT)
        leaks = [
            f"the task {self._who.describe(task)}. Await it, or cancel it."
            for task in running
            # SQLAlchemy's own never ends if it is cancelled while it closes a connection.
            if not task_name(task).endswith("_terminate_graceful_close")
        ]
        await cancel(running)
        return leaks

    async def _end_connections(self) -> list[str]:
        """Close the connections that are checked out; describe them."""
        left = [connection for connection in self.connections if connection.state.checked_out]
        advice = "Close it, or its session; `async with` does."
        leaks = [f"{describe(connection.state)}. {advice}" for connection in left]
        for connection in left:
            await close(connection)
            connection.state.test_has_ended = True
        return leaks

    async def _end_strays(self, before: set[GuardedConnection]) -> list[WrongLoopError]:
        """Close what the test has left in a pool of connections to another loop than its own;
        return an error for each.

        A plain function may leave some to a loop that runs on, such as that of a TestClient.
        """
        loop = self._loops.describe(self.loop)
        misuse = f"It is left in a pool, where the test's {loop} would use it."
        errors = []
        for connection in {*self.connections} - before:
            state = connection.state
            if state.loop not in (None, self.loop):
                await close(connection)
                if self._is_free and not state.loop.is_closed():
                    continue
                errors.append(self._loops.error(state.loop, state.opened_by, state.thread, misuse))
        return errors

    async def _end_unwanted(self) -> None:
        """Close the connections that nobody has received: who asked for them was cancelled."""
        for opening in [task for task in UNWANTED if task.get_loop() is self.loop]:
            UNWANTED.discard(opening)
            await asyncio.wait([opening], timeout=CANCEL_TIMEOUT)
            if not opening.cancel() and not opening.cancelled() and not opening.exception():
                await greenlet_spawn(opening.result().close)

    @property
    def _is_free(self) -> bool:
        """Whether the test may use loops as it likes: real ones, none of them its own."""
        return self._who.is_sync_test and not self._shared

    def _refusal(self, state: ConnectionState) -> HarnessError:
        """Return the error that says why a connection cannot be used."""
        if state.test_has_ended:
            return LeakError(
                f"This is a connection of a test that is over, left open by {state.owner}. It is"
                f" used by {self._who}."
            )
        return self._loops.error(state.loop, state.opened_by, state.thread)

    def _refuse_outside_tests(self) -> None:
        if self._who.is_wide_fixture or not self.loop:
            raise OutsideTestError(
                f"The database is used outside of a test, by {self._who}: what is written there"
                " would reach into tests. Use it in tests and in function-scoped fixtures. What"
                " makes or empties tables can be deleted: they are there. Data for all tests belong"
                " where tables are made: in a migration, or in a table's event after_create."
            )

    def _connect(
        self,
        dialect: Dialect,
        entry: ConnectionPoolEntry,
        args: list[Any],
        options: dict[str, Any],
    ) -> GuardedConnection | None:
        asked_for = (*args, *options.values())
        if is_harness.get() or not any(self._name in str(value) for value in asked_for):
            return None  # connect as always
        self._refuse_outside_tests()
        loop = running_loop() if dialect.is_async else None
        # Another engine may connect on another loop, if it is disposed of there. The application's
        # would work there or not, depending on what its pool holds.
        is_of_test = self._shared or dialect is get_engine().dialect
        if is_of_test and loop not in (None, self.loop) and not self._is_free:
            raise self._loops.error(self.loop, "the test", self._thread)
        state = ConnectionState(entry, loop, str(self._who), self._refusal, self.connections)
        connection = self.guard((self._shared or self.connect)(dialect, args, options), state)
        self.connections.add(connection)
        return connection

    def _check_out(
        self, connection: Any, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        if isinstance(connection, GuardedConnection):
            state = connection.state
            self._refuse_outside_tests()
            if state.loop not in (None, running_loop()):
                raise self._refusal(state)
            state.checked_out, state.owner = proxy, str(self._who)

    def _check_in(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        entry.info.pop(STATEMENT, None)
        if isinstance(connection, GuardedConnection):
            connection.state.checked_out = None

    def _note_statement(self, connection: Connection, _: object, text: str, *__: object) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.info[STATEMENT] = text

    def _forget_statement(self, connection: Connection) -> None:
        if not connection.invalidated:
            connection.info.pop(STATEMENT, None)

    def _explain_lock(self, context: ExceptionContext) -> None:
        """Name the transactions that a statement may have waited for in vain."""
        error, connection = context.sqlalchemy_exception, context.connection
        if error and connection and not connection.invalidated and LOCKED.search(str(error)):
            for other in self.connections:
                info = other.state.entry.info
                if STATEMENT in info and info is not connection.info:
                    error.add_note(f"Commit first: open is {describe(other.state)}.")
