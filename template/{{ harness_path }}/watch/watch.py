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
from .loops import LIFETIME, Loops
from .tasks import CANCEL_TIMEOUT, cancel, other_tasks, still_running
from .who import Who, running_loop, task_name

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
        self.connect_shared: Connect | None = None  # opens connections that share a real one
        self.waits: Callable[[], list[list[str]]] = lambda: []  # of statements, for what is shared
        self.connect: Connect = connect
        self.guard: Callable[[Any, ConnectionState], GuardedConnection] = GuardedConnection
        self.connections = set[GuardedConnection]()  # all that are open
        self.loop: asyncio.AbstractEventLoop | None = None  # of the test, while one runs
        self.loop_of_scope: asyncio.AbstractEventLoop | None = None  # where tests will run
        self.allows_outside_test: Callable[[], bool] = lambda: False
        self.tasks_before_phase = set[asyncio.Task[Any]]()  # the set-up, or the call
        self._tasks_before = set[asyncio.Task[Any]]()  # before the test
        self._connections_before = set[GuardedConnection]()  # before it
        self._wide_tasks = set[asyncio.Task[Any]]()  # that may run on from one test to the next
        self._refused: OutsideTestError | None = None  # to one of them
        event.listen(Engine, "do_connect", self._connect)
        event.listen(Pool, "checkout", self._check_out)
        event.listen(Pool, "checkin", self._check_in)
        event.listen(Engine, "before_cursor_execute", self._note_statement)
        event.listen(Engine, "commit", self._forget_statement)
        event.listen(Engine, "rollback", self._forget_statement)
        event.listen(Engine, "handle_error", self._explain_lock)

    @asynccontextmanager
    async def watch_test(self) -> AsyncIterator[None]:
        """Watch over a test.

        Raises:
            LeakError: it has left tasks running, or connections checked out; or a fixture has that
                has ended before it.
            WrongLoopError: it has left connections in a pool that work on another loop.
            HarnessError: one that the code under test has caught.
        """
        HarnessError.raised.clear()
        self.note_wide_tasks()
        self.loop = asyncio.get_running_loop()
        self.tasks_before_phase = self._tasks_before = asyncio.all_tasks()
        if leaks := await self._end_connections():
            raise LeakError("\n* ".join(("A fixture that has ended has left open", *leaks)))
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
            refused, self._refused = self._refused, None
            if refused:
                raise refused

    def note_wide_tasks(self) -> None:
        """Note which tasks run before a test, or before a fixture of a wider scope, begins."""
        if self.loop_of_scope and not self.loop:
            self._wide_tasks = other_tasks(self.loop_of_scope)

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
        """Close the connections that are checked out; describe them, unless somebody has."""
        left = [connection for connection in self.connections if connection.state.checked_out]
        states = [connection.state for connection in left if not connection.state.test_has_ended]
        advice = "Close it, or its session; `async with` does."
        leaks = [f"{describe(state)}. {advice}" for state in states]
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
        """Whether loops may be used as one likes: real connections, and none on the tests' loop."""
        loop = self.loop_of_scope
        is_outside = not self.loop and not (loop and loop.is_running())
        return (self._who.is_sync_test or is_outside) and not self.connect_shared

    def _refusal(self, state: ConnectionState) -> HarnessError:
        """Return the error that says why a connection cannot be used."""
        if state.test_has_ended:
            return LeakError(
                f"This is a connection of a test that is over, left open by {state.owner}. It is"
                f" used by {self._who}."
            )
        return self._loops.error(state.loop, state.opened_by, state.thread)

    def _refuse_outside_tests(self) -> None:
        task = asyncio.current_task() if running_loop() else None
        if task in self._wide_tasks:
            self._refused = OutsideTestError(
                f"The task {self._who.describe(task)}, which a fixture of a wider scope has"
                " started, uses the database: what it writes would reach from one test into the"
                " next. Start it in the test, or in a function-scoped fixture that ends it."
            )
            raise self._refused
        is_wide = self._who.is_wide_fixture
        if self.loop and is_wide:
            raise OutsideTestError(
                f"While a test runs, data that others share is not possible, by {self._who}: it"
                " would end with the test. Let tests name the fixture as an argument."
            )
        if self.loop or self.allows_outside_test():
            return
        advice = (
            "What makes or empties tables can be deleted: they are there. Data for all tests belong"
            " where tables are made: in a migration, or in a table's event after_create."
        )
        if is_wide and not self.loop_of_scope:
            advice = LIFETIME
        raise OutsideTestError(
            f"The database is used outside of a test, by {self._who}: what is written there would"
            f" reach into tests. Use it in tests and in function-scoped fixtures. {advice}"
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
        is_of_test = self.connect_shared or dialect is get_engine().dialect
        tests_loop = self.loop or self.loop_of_scope
        if is_of_test and loop not in (None, tests_loop) and not self._is_free:
            raise self._loops.error(tests_loop, "the test", self._thread)
        state = ConnectionState(entry, loop, str(self._who), self._refusal, self.connections)
        try:
            opened = (self.connect_shared or self.connect)(dialect, args, options)
        except OutsideTestError:  # by the task that opens what is shared
            self._refuse_outside_tests()
            raise
        connection = self.guard(opened, state)
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
                    error.add_note(f"Commit first. Still open: {describe(other.state)}.")
