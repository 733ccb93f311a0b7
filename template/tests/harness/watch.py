"""Watches over what could reach from one test into another: event loops, connections, tasks.

Every connection that SQLAlchemy opens to the tests' database is opened here, behind a thin proxy
that refuses to be used on another event loop than its own; a driver would notice that late, at
some later statement, or never. When a test ends, what it has left open is named, and closed.

All of it hangs on SQLAlchemy's public events, so it works for any engine, wherever that lives.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import greenlet
import pytest
from sqlalchemy import URL, Connection, Dialect, Engine, ExceptionContext, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection
from sqlalchemy.util import await_only, greenlet_spawn

from .application import get_engine
from .backend import Server
from .errors import HarnessError, LeakError, OutsideTestError, WrongLoopError
from .loop import describe_settings, runner_tasks
from .thread import is_harness

GRACE: Final = 0.1
"""Seconds that a task may take to end by itself after its test."""
CANCEL_AFTER: Final = 1
"""Seconds that it may take to end once its statements are cancelled."""
CANCEL_LIMIT: Final = 5
"""Seconds that it may take to end once it is cancelled."""
STATEMENT: Final = "tests.harness: last statement"
"""Where a connection's `info` has the last statement of an open transaction."""
DRIVER: Final = ("_connection", "driver_connection", "run_async")
"""The ways to the driver's own connection."""
IS_WORN: Final = "tests.harness: is worn"
"""Where a connection's `info` says that its session may not be what it was."""

LEADING: Final = re.compile(r"\A(\s|\(|(--|#)[^\n]*\n|/\*(?!!).*?\*/)+", re.DOTALL)
"""What may stand before a statement's first word."""
PLAIN: Final = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|SELECT|SHOW|SAVEPOINT|RELEASE|ROLLBACK|SET\s+LOCAL)\b",
    re.IGNORECASE,
)
"""A statement whose effects a rollback undoes, to the last temporary table and cached type."""

LINGERING: Final = re.compile(
    r"\b(set_config|\w*advisory_lock\w*|get_lock|INTO\s+TEMP\w*|INTO\s+@\w+)\b|:="
    r'|\bSET\s+LOCAL\s+("[^"]*\.|\S+\.)',  # what was NULL before is empty text ever after
    re.IGNORECASE,
)
"""What may be in such a statement whose effects outlive a transaction."""
ALTERING: Final = re.compile(
    r"(CREATE(?!\s+(LOCAL\s+|GLOBAL\s+)?TEMP)|ALTER|DROP|RENAME|COMMENT|GRANT|REVOKE|DO|CALL)\b",
    re.IGNORECASE,
)
"""A statement that alters more than rows, or may do so."""

LOCKED: Final = re.compile(r"lock timeout|lock wait timeout|database is locked", re.IGNORECASE)
"""What a database says when a statement has waited too long for the transaction of another."""


class Source(Protocol):
    """Where a test gets its connections from, if it does not connect to the server itself."""

    def connect(self, dialect: Dialect, args: list[Any], options: dict[str, Any]) -> Any:
        """Return a DBAPI connection, opened with `args` and `options`."""

    def check_out(self, connection: Any) -> None:
        """Take note that a pool hands `connection` out.

        Raises:
            sqlalchemy.exc.DisconnectionError: the pool is to ask for a new one.
        """

    def check_in(self, connection: Any) -> None:
        """Take note that a pool has `connection` back."""


class Keeper(Protocol):
    """What keeps connections that a pool has closed for the next one that asks for such."""

    def keep(self, connection: GuardedConnection) -> bool:
        """Take over `connection`, and tell whether that is possible."""

    def take(self, opened_with: tuple[Any, ...]) -> Any:
        """Return a DBAPI connection that was opened with the same, or None."""


@dataclass(eq=False)
class State:
    """What is known of a connection."""

    watch: Watch
    source: Source | None
    entry: ConnectionPoolEntry
    loop: asyncio.AbstractEventLoop | None  # None: a sync engine's, which needs no loop
    opened_with: tuple[Any, ...]  # the loop, the dialect, arguments and options
    opened_by: str
    thread: int = field(default_factory=threading.get_ident)
    checked_out: PoolProxiedConnection | None = None  # kept, lest it be garbage-collected
    owner: str = ""  # who has it checked out
    is_over: bool = False  # the test that had it checked out
    cursor: Any = None  # the last one, until SQLAlchemy says what it executes

    def wear(self) -> None:
        """Take note that the session may not be what it was."""
        self.entry.info[IS_WORN] = True


class GuardedConnection:
    """A DBAPI connection that works on the loop that opened it, and not beyond its test."""

    guarded: Any
    state: State

    def __init__(self, guarded: Any, state: State) -> None:
        vars(self).update(guarded=guarded, state=state)  # assignments go to what is guarded

    def __getattr__(self, name: str) -> Any:
        if self.state.is_over or self.state.loop not in (None, running_loop()):
            raise self.state.watch.refusal(self.state)
        # The driver's own connection: it can do anything. (SQLAlchemy looks at it after an error.)
        if name in DRIVER and self.state.checked_out and sys.exception() is None:
            self.state.wear()
            self.state.watch.is_altered = True
        return getattr(self.guarded, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.guarded, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The guarded connection's: drivers ask what they are given."""
        return self.guarded.__class__  # type: ignore[no-any-return]

    def cursor(self, *args: Any, **options: Any) -> Any:
        """Return a cursor. One that is not SQLAlchemy's can do anything, too."""
        if self.state.cursor is not None:
            self.state.wear()
        cursor = self.__getattr__("cursor")(*args, **options)
        self.state.cursor = cursor if self.state.checked_out else None
        return cursor

    def rollback(self) -> None:
        """Roll back. What was closed when its test ended has been rolled back already."""
        if not self.state.is_over:
            self.__getattr__("rollback")()

    def close(self) -> None:
        """Close the connection, unless it is kept for the next test's pool."""
        keeper = self.state.watch.keeper
        if not (keeper and keeper.keep(self)):
            self.terminate()

    def terminate(self) -> None:
        """Close the connection, on the loop where it works."""
        self.state.watch.connections.discard(self)
        loop = self.state.loop
        close = getattr(self.guarded, "terminate", self.guarded.close)
        if loop is None or loop is running_loop():
            close()
        elif loop.is_closed():
            ABANDONED.append(self.guarded)
        else:
            asyncio.run_coroutine_threadsafe(greenlet_spawn(close), loop)


ABANDONED: Final[list[Any]] = []
"""Connections that nothing can close; kept, for the garbage collector would try, and complain."""

UNWANTED: Final[set[asyncio.Task[Any]]] = set()
"""Those that connect for somebody who has been cancelled."""


class Watch:
    """Watches over one database, and over one test at a time. (It is a plugin of pytest's.)"""

    def __init__(self, config: pytest.Config, url: URL, name: str, server: Server) -> None:
        """Watch over the database at `url` on `server`; no other has its `name`."""
        self._config = config
        self._url = url
        self._name = name
        self._server = server
        self._before = set[asyncio.Task[Any]]()  # the tasks before what is run now
        self._is_testing = False
        self._source: Source | None = None  # of the test that runs
        self._loop: asyncio.AbstractEventLoop | None = None  # the one of the test
        self._thread = threading.get_ident()
        self._root = f"{config.rootpath}{os.sep}"
        self._loops = WeakKeyDictionary[asyncio.AbstractEventLoop, int]()
        self._fixtures: list[pytest.FixtureDef[Any]] = []  # that are being set up
        self.keeper: Keeper | None = None
        self.is_altered = False  # by the test: more than rows
        self.connections = set[GuardedConnection]()  # all that are open
        event.listen(Engine, "do_connect", self._connect)
        event.listen(Pool, "checkout", self._check_out)
        event.listen(Pool, "checkin", self._check_in)
        event.listen(Engine, "before_cursor_execute", self._begin)
        event.listen(Engine, "commit", self._end)
        event.listen(Engine, "rollback", self._end)
        event.listen(Engine, "handle_error", self._explain_lock)

    @asynccontextmanager
    async def over_test(self, source: Source | None = None) -> AsyncIterator[None]:
        """Watch over a test that gets its connections from `source`, or from the server.

        Raises:
            LeakError: it has left tasks running, or connections checked out.
            WrongLoopError: it has left connections in a pool that work on another loop.
        """
        self._source, self._loop = source, asyncio.get_running_loop()
        self._is_testing, self.is_altered = True, False
        tasks, connections = asyncio.all_tasks(), {*self.connections}
        self._before = tasks
        try:
            yield
        finally:
            try:
                leaks = [*await self._end_tasks(tasks), *await self._end_connections()]
                strays = await self._end_strays(connections)
                await self._end_worn()
                await self._end_unwanted()
            finally:
                self._is_testing = False
        if leaks:
            raise LeakError("\n* ".join(("This test has left open", *leaks)))
        if strays:
            raise strays[0]

    async def _end_tasks(self, before: set[asyncio.Task[Any]]) -> list[str]:
        """End the tasks that were not there `before`; describe those that do not end themselves."""
        tasks = asyncio.all_tasks() - before - runner_tasks()
        running = {task for task in tasks if task.get_name() != __package__}
        if running:
            _, running = await asyncio.wait(running, timeout=GRACE)
        advice = "Await it, or cancel it."
        leaks = [
            f"the task {self._describe_task(task)}. {advice}"
            for task in running
            # SQLAlchemy's own goes on for ever if it is cancelled while it closes a connection.
            if not name(task).endswith("_terminate_graceful_close")
        ]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_LIMIT)
        return leaks

    async def _end_connections(self) -> list[str]:
        """Close the connections that are checked out; describe them."""
        left = [connection for connection in self.connections if connection.state.checked_out]
        advice = "Close it, or its session; `async with` does."
        leaks = [f"{describe(connection.state)}. {advice}" for connection in left]
        for connection in left:
            await close(connection)
            connection.state.is_over = True
        return leaks

    async def _end_strays(self, before: set[GuardedConnection]) -> list[WrongLoopError]:
        """Close the connections that the test leaves in a pool, but for another loop than its own;
        return what to say of them."""
        misuse = f"It is left in a pool, where the test's {self._number(self._loop)} would use it."
        errors = []
        for connection in {*self.connections} - before:
            state = connection.state
            if state.loop not in (None, self._loop):
                await close(connection)
                errors.append(self._wrong_loop(state.loop, state.opened_by, state.thread, misuse))
        return errors

    async def _end_worn(self) -> None:
        """Close the connections that may carry settings or temporary tables into another test."""
        for connection in [*self.connections]:
            if IS_WORN in connection.state.entry.info:
                await close(connection)

    async def _end_unwanted(self) -> None:
        """Close the connections that nobody waited for any more when they were there."""
        for opening in [task for task in UNWANTED if task.get_loop() is self._loop]:
            UNWANTED.discard(opening)
            await asyncio.wait([opening], timeout=CANCEL_LIMIT)
            if not opening.cancel() and not opening.cancelled() and not opening.exception():
                await greenlet_spawn(opening.result().close)

    async def close_connections(self) -> None:
        """Close what the pools of all engines keep open on this loop, and those of sync engines.

        So an engine may outlive its loops, or the database, and need not be disposed of.
        """
        for connection in [*self.connections]:
            if connection.state.loop in (None, asyncio.get_running_loop()):
                await close(connection)

    def refusal(self, state: State) -> HarnessError:
        """Return the error that says why a connection cannot be used."""
        if state.is_over:
            return LeakError(
                f"This is a connection of a test that is over, left open by {state.owner}. It is"
                f" used by {self._who()}."
            )
        return self._wrong_loop(state.loop, state.opened_by, state.thread)

    def _wrong_loop(
        self,
        loop: asyncio.AbstractEventLoop | None,
        opened_by: str,
        thread: int,
        misuse: str | None = None,
    ) -> WrongLoopError:
        misuse = misuse or f"It is used on {self._number(running_loop())} by {self._who()}."
        if any(frame.f_globals.get("__name__") == "alembic.command" for frame in stack()):
            fix = (
                "Alembic migrates on a loop of its own, which the sandbox cannot show. The tables"
                " are there already: replace what starts it, or mark the test with"
                " @pytest.mark.real_commits."
            )
        elif thread != threading.get_ident():
            fix = (
                "A thread has a loop of its own, as that of Starlette's TestClient: call the"
                " application through the fixture `client` instead, and coroutines with `await`."
            )
        else:
            fix = (
                "Let all that shares an engine run on one loop, or make an engine for each. Where"
                " asyncio.run() is called, which makes a loop of its own, `await` in an async test."
                f" {describe_settings(self._config)}"
            )
        return WrongLoopError(
            f"A connection of Engine({self._url!r}) was opened on {self._number(loop)} by"
            f" {opened_by}, and works there only. {misuse} {fix}"
        )

    def _number(self, loop: asyncio.AbstractEventLoop | None) -> str:
        if loop is None:
            return "no loop"
        number = self._loops.setdefault(loop, len(self._loops) + 1)
        return f"loop {number} (closed)" if loop.is_closed() else f"loop {number}"

    def _who(self) -> str:
        """Return who is at work: which test, which fixture, and where in this project's code."""
        who = os.environ.get("PYTEST_CURRENT_TEST", "an import")
        if self._fixtures:
            who = f"the fixture {self._fixtures[-1].argname!r} for {who}"
        frame = next(filter(self._is_project_code, stack()), None)
        return f"{who}, {frame.f_code.co_qualname} at {self._position(frame)}" if frame else who

    def _describe_task(self, task: asyncio.Task[Any]) -> str:
        """Return what `task` runs, and where in this project's code it waits, if it is there."""
        frames = list[FrameType]()
        coroutine: Any = task.get_coro()
        while frame := getattr(coroutine, "cr_frame", None):
            frames.append(frame)
            coroutine = coroutine.cr_await
        own = [frame for frame in frames if self._is_project_code(frame)]
        return f"{name(task)} at {self._position(own[-1])}" if own else name(task)

    def _position(self, frame: FrameType) -> str:
        """Return file and line of `frame`; quickly, since every checkout asks for it."""
        return f"{frame.f_code.co_filename.removeprefix(self._root)}:{frame.f_lineno}"

    def _is_project_code(self, frame: FrameType) -> bool:
        file = frame.f_code.co_filename
        is_installed = "site-packages" in file or file.startswith(sys.prefix)
        return file.startswith(self._root) and not is_installed and file != __file__

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """End what is set up when somebody interrupts the loop."""
        return (yield from self._end_interrupted())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """End the test when somebody interrupts the loop, as pytest-timeout does, or Ctrl-C."""
        if self._is_testing and self._loop:
            self._before = asyncio.all_tasks(self._loop)
        return (yield from self._end_interrupted())

    def _end_interrupted(self) -> Iterator[None]:
        """End the tasks that an exception leaves behind which none of them has raised.

        They would go on while fixtures end, which would wait for their statements.
        """
        try:
            return (yield)
        except BaseException as error:
            places = [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]
            if self._is_testing and self._loop and "run_forever" in places:
                self._loop.run_until_complete(self._end_unfinished())
            raise

    async def _end_unfinished(self) -> None:
        """Cancel all statements, then all tasks of what is run now that go on nevertheless."""
        tasks = asyncio.all_tasks() - self._before - {asyncio.current_task()}
        self._server.cancel_statements(self._name)
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_AFTER)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_LIMIT)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # nobody else wants to know

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        """Know which fixture is being set up."""
        self._fixtures.append(fixturedef)
        try:
            return (yield)
        finally:
            self._fixtures.pop()

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
        # Another engine may serve another loop, if that is disposed of. The application's would
        # work there or not, depending on what is in its pool.
        is_shared = self._source or dialect is get_engine().dialect
        if is_shared and loop not in (None, self._loop):
            raise self._wrong_loop(self._loop, "the test", self._thread)
        opened_with = loop, dialect, args, options
        state = State(self, self._source, entry, loop, opened_with, opened_by=self._who())
        if self._source:
            guarded = self._source.connect(dialect, args, options)
        else:
            kept = self.keeper.take(opened_with) if self.keeper else None
            guarded = kept or connect(dialect, args, options)
        connection = GuardedConnection(guarded, state)
        self.connections.add(connection)
        return connection

    def _refuse_outside_tests(self) -> None:
        is_wide = any(fixture.scope != "function" for fixture in self._fixtures)
        if is_wide or not self._is_testing:
            raise OutsideTestError(
                f"The database is used outside of a test, by {self._who()}: what is written there"
                " would reach into tests. Use it in tests and in function-scoped fixtures. Data"
                " that all tests see belongs where the schema is made: in a migration."
            )

    def _check_out(
        self, connection: Any, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        if isinstance(connection, GuardedConnection):
            state = connection.state
            self._refuse_outside_tests()
            if state.source is not self._source:
                raise DisconnectionError("this is a connection of another kind of tests")
            if state.loop not in (None, running_loop()):
                raise self.refusal(state)
            if state.source:
                state.source.check_out(connection.guarded)
            state.checked_out, state.owner = proxy, self._who()

    def _check_in(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        entry.info.pop(STATEMENT, None)
        if isinstance(connection, GuardedConnection):
            state = connection.state
            state.checked_out = None
            if state.source:
                state.source.check_in(connection.guarded)

    def _begin(self, connection: Connection, cursor: object, statement: str, *_: object) -> None:
        guard = connection.connection.dbapi_connection
        if isinstance(guard, GuardedConnection) and guard.state.cursor is cursor:
            guard.state.cursor = None
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.info[STATEMENT] = statement
        if wears(statement):
            connection.info[IS_WORN] = True
            parts = (LEADING.sub("", part) for part in statement.split(";"))
            self.is_altered |= any(ALTERING.match(part) for part in parts)

    def _end(self, connection: Connection) -> None:
        if not connection.invalidated:
            connection.info.pop(STATEMENT, None)

    def _explain_lock(self, context: ExceptionContext) -> None:
        """Name the transactions that a statement may have waited for in vain."""
        error, connection = context.sqlalchemy_exception, context.connection
        if error and connection and not connection.invalidated and LOCKED.search(str(error)):
            for state in [connection.state for connection in self.connections]:
                if STATEMENT in state.entry.info and state.entry.info is not connection.info:
                    error.add_note(f"Commit first: open is {describe(state)}.")


def wears(statement: str) -> bool:
    """Tell whether `statement` may leave something in the session that outlives its transaction."""
    parts = (LEADING.sub("", part) for part in statement.split(";"))
    return not all(PLAIN.match(part) for part in parts if part) or bool(LINGERING.search(statement))


def connect(dialect: Dialect, args: list[Any], options: dict[str, Any]) -> Any:
    """Connect as `dialect` does: to the end, also if who waits for it is cancelled meanwhile.

    A driver that is interrupted may leave a thread to a loop that is over when it has connected.
    """
    if not dialect.is_async:
        return dialect.connect(*args, **options)
    opening = create_task(greenlet_spawn(dialect.connect, *args, **options))
    try:
        return await_only(asyncio.shield(opening))
    except asyncio.CancelledError:
        UNWANTED.add(opening)
        raise


def create_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task that is the harness's own, as its name says; perhaps nobody waits for it.

    Not by the loop's factory: an eager task would begin inside the greenlet that starts it.
    """
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=__package__)
    task.add_done_callback(retrieve)
    return task


def retrieve(future: asyncio.Future[Any]) -> None:
    """Take note of an error that nobody may wait for any more, or asyncio would report it."""
    if not future.cancelled():
        future.exception()


async def close(connection: GuardedConnection) -> None:
    """Close `connection`; its pool replaces it."""
    entry = connection.state.entry
    is_detached = entry.dbapi_connection is not connection
    with suppress(WrongLoopError):  # by listeners that still want to use it
        await greenlet_spawn(connection.terminate if is_detached else entry.invalidate)


def name(task: asyncio.Task[Any]) -> str:
    """Return the name of what `task` runs."""
    return getattr(task.get_coro(), "__qualname__", repr(task))


def describe(state: State) -> str:
    """Return what is open of a connection, and who has opened it."""
    if statement := state.entry.info.get(STATEMENT):
        return f"a transaction of {state.owner}, after {shorten(statement)!r}"
    return f"a connection of {state.owner}"


def stack() -> Iterator[FrameType]:
    """Return the frames that wait for the current one, but for those in SQLAlchemy's greenlet."""
    parent = greenlet.getcurrent().parent
    frame = parent.gr_frame if parent else inspect.currentframe()
    while frame:
        yield frame
        frame = frame.f_back


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def shorten(statement: str) -> str:
    """Return the beginning of `statement`, on one line."""
    return textwrap.shorten(statement, width=100, placeholder=" ...")
