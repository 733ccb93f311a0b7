"""The shared connection: whose turn it is, and what counts as committed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from sqlalchemy import Dialect
from sqlalchemy.util import await_only, greenlet_spawn

from ..application import get_engine
from ..database.lifecycle import SPARED
from ..database.server import Server
from ..errors import CommitFirstError, TransactionControlError
from ..watch.guard import shorten
from ..watch.tasks import create_task
from ..watch.watch import TEST
from . import statements
from .connection import ADVICE, FIRST_ENGINE, SandboxConnection
from .driver import DriverProxy, cancel, prepare_shared

WAIT_TIMEOUT: Final = 5
"""Seconds that a statement waits for the transaction, or a statement, of another task."""
STOP_TIMEOUT: Final = 0.2
"""Seconds after which the statement of a cancelled task is cancelled, too."""

NOWAIT: Final = re.compile(r"\bNOWAIT\b", re.IGNORECASE)
CALLS: Final = re.compile(r"\(|\A(CALL|DO)\b", re.IGNORECASE)
COMPARABLE_TYPES: Final = (str, int, float, list, tuple, dict)


class Sandbox:
    """One real connection, which all connections of tests on one event loop share."""

    def __init__(self, server: Server, lose: Callable[[], None]) -> None:
        """Prepare a sandbox on the running event loop; it connects when that is first needed.

        Args:
            server: cancels statements.
            lose: is told that all levels are lost with the connection.
        """
        self._server = server
        self._lose = lose
        self.shared: Any = None
        self.setup_statements = dict[str, None]()  # of listeners for "connect", in order
        self._settings = list[str]()  # statements that set again what listeners have set
        self._options: dict[str, Any] = {}  # with which it was opened
        self._session_changed = False  # by statements whose effects may outlive a rollback
        self._schema: statements.Schema | None = None  # what is known of it, if anything
        self._lock = asyncio.Condition()  # held while the shared connection is in use
        self._opening: asyncio.Task[None] | None = None  # kept while it is open
        self._begun = False
        self._levels = list[bool]()  # of data that tests share: whether it has changed the session
        self._queue = list[str]()  # of statements that come before the next
        self.writer: SandboxConnection | None = None  # for whose transaction others wait
        self._waiting = list[str]()  # statements, for their turn
        self._running: asyncio.Future[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def roll_back(self) -> None:
        """Undo everything that has been written.

        Raises:
            TransactionControlError: that is impossible, for example since the test has ended the
                outer transaction.
        """
        if self._recovery:
            await asyncio.wait([self._recovery])
        if self._lock.locked():  # by a task that goes on after its cancellation
            await self._stop()
        async with self._lock:
            self.writer = None
            # As long as something is in the queue, no statement has come since data were arranged.
            if self._begun and (SPARED or not self._queue):
                self.return_to_level()
                try:
                    await greenlet_spawn(self._run_queue)
                except Exception as error:
                    raise lost(error) from error
        if self._session_changed:
            await self.close()

    def add_level(self) -> None:
        """Let tests return to what has been written until now: see `watch.shared_data.Levels`."""
        if not self._begun:
            self._queue.append(statements.BEGIN)
        self._begun = True
        self._levels.append(self._session_changed)
        self._session_changed = False
        self._queue.append(statements.KEEP.format(level=len(self._levels)))

    def return_to_level(self) -> None:
        """Undo what has been written since the last level, or all if there is none.

        With `--keep-database`, all is committed instead, so that it can be looked at.
        """
        if SPARED and self._begun:
            self._queue.append("COMMIT")
            self._begun = False
        elif self._levels:
            self._queue.append(statements.RETURN.format(level=len(self._levels)))
        elif self._begun:
            self._queue.append(statements.END)
            self._begun = False

    def remove_level(self) -> None:
        """Undo the last level, and what has been written since."""
        if self._levels:  # it may be lost
            self._session_changed |= self._levels.pop()
        self.return_to_level()

    def _run_queue(self) -> None:
        while self._queue:
            statements.execute(self.shared, self._queue.pop(0))

    async def close(self) -> None:
        """Close the shared connection; `connect` opens it again."""
        if self._opening:
            with suppress(Exception):  # which `connect` raises
                await asyncio.wait_for(self._opening, WAIT_TIMEOUT)
        if self.shared is not None:
            self._closing = create_task(self._close(self._detach()))
            await asyncio.shield(self._closing)

    async def _close(self, shared: Any) -> None:
        """Close a detached connection, once the statement of a cancelled task has ended."""
        if self._running and not self._running.done():
            await asyncio.wait([self._running], timeout=WAIT_TIMEOUT)
        await greenlet_spawn(shared.close)

    def _detach(self) -> Any:
        """Detach the shared connection from the sandbox, and return it."""
        self.setup_statements.clear()
        self._queue.clear()
        self._levels.clear()
        self._lose()
        self._begun = self._session_changed = False
        self._schema = self._opening = None
        connection, self.shared = self.shared, None
        return connection

    async def _open(self) -> None:
        """Open the shared connection by a pool of the application, whose listeners set it up.

        This runs in its own task, which goes on if a task that waits for it is cancelled.
        """
        TEST.set(None)  # what one test begins to open, the next may use
        pool = get_engine().sync_engine.pool.recreate()
        try:
            await greenlet_spawn(lambda: pool.connect().close())
            self._settings = await greenlet_spawn(statements.settings, self.shared)
        except BaseException:
            self._opening = None
            if self.shared is not None:
                await self._close(self._detach())
            raise
        finally:
            await greenlet_spawn(pool.dispose)

    def connect(
        self, dialect: Dialect, args: list[Any], options: dict[str, Any]
    ) -> SandboxConnection:
        """Return a proxy of the shared connection; open that first if necessary.

        Raises:
            TransactionControlError: a connection with `args` and `options` would differ from it.
        """
        if not dialect.is_async:
            raise TransactionControlError(
                f"A sync engine cannot share the sandbox's connection. {ADVICE}"
            )
        wanted = {"driver": dialect.driver, "address": args, **comparable(options)}
        if asyncio.current_task() is self._opening:
            self._options = wanted
            self.shared = dialect.connect(*args, **options)
            prepare_shared(self.shared)
            return DriverProxy(self, is_first=True)
        if self._opening is None:
            self._opening = create_task(self._open())
        await_only(asyncio.sleep(0))  # others go on, as they do while a server answers
        await_only(asyncio.shield(self._opening))
        names = self._options.keys() | wanted.keys()
        if different := [n for n in names if self._options.get(n) != wanted.get(n)]:
            raise TransactionControlError(
                f"This engine connects with another {' and '.join(sorted(different))} than"
                f" {FIRST_ENGINE}. {ADVICE}"
            )
        return DriverProxy(self, is_first=False)

    def note_change(self) -> None:
        """Note that the session, or the schema, may have changed."""
        self._session_changed = True
        self._schema = None

    def _read_schema(self) -> statements.Schema:
        """Return what is known of the schema; read it first if it may have changed."""
        if self._schema is None:
            again = [*self._settings, *self.setup_statements]
            read = partial(statements.Schema, self.shared, again)
            self._schema = self.call(read)
        return self._schema

    @contextmanager
    def turn(
        self, connection: SandboxConnection, statement: str, code: str, *, is_read: bool
    ) -> Iterator[bool]:
        """Hold the shared connection for one statement of `connection`.

        Args:
            connection: whose statement it is.
            statement: as it is sent.
            code: the statement without comments and literals.
            is_read: it only reads, unless it calls a function that writes.

        Yields:
            Whether it writes; then `connection` is the writer.

        Raises:
            CommitFirstError: it has to wait for a transaction that does not end.
            TransactionControlError: it calls what changes the session.
        """
        self._waiting.append(statement)
        try:
            await_only(self._wait_for_writer(connection, code))
        finally:
            self._waiting.remove(statement)
        try:
            if self._queue:
                self.call(self._run_queue)
            if not self._begun:
                self._begun = True  # even if this is cancelled: BEGIN goes on
                self._execute(statements.BEGIN)
            writes = not is_read
            if is_read or CALLS.search(code):
                schema = self._read_schema()
                if reason := schema.refusal(code, statement):
                    raise TransactionControlError(f"{shorten(statement)!r} {reason}. {ADVICE}")
                writes = writes or schema.may_write(code)
            if writes:
                self.writer = connection
            yield writes
        except asyncio.CancelledError:
            self._recovery = create_task(self._recover())  # a cancelled task does not wait for it
            raise
        except BaseException:
            self._lock.release()
            raise
        else:
            self._lock.release()

    def waits(self) -> list[list[str]]:
        """Return the statements that wait; what for; and the last of the transaction that has it,
        if one does."""
        lock = "the sandbox, for one transaction at a time"
        held = [self.writer.statement] if self.writer else []
        return [[statement, lock, *held] for statement in self._waiting]

    async def _recover(self) -> None:
        """Stop a cancelled statement, roll back its transaction, and let others go on.

        The lock, which the cancelled task has kept, is released then.
        """
        try:
            await self._stop()
            await greenlet_spawn(partial(self.end_writer, keeps=False))
        finally:
            self._lock.release()

    async def _stop(self) -> None:
        """Wait for the running statement; if it goes on, cancel it, then close the connection."""
        if self._running:
            await asyncio.wait([self._running], timeout=STOP_TIMEOUT)
            if not self._running.done():
                cancel(self.shared, self._server)
                await asyncio.wait([self._running], timeout=WAIT_TIMEOUT)
            if not self._running.done():  # the server does not react: the test cannot go on
                await greenlet_spawn(self.shared.terminate)
                await asyncio.wait([self._running])

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function`, which uses the shared connection.

        It goes on if the task that waits for it is cancelled, as some drivers would close the
        connection otherwise; then see `_recover`.
        """
        self._running = create_task(greenlet_spawn(function))
        return await_only(asyncio.shield(self._running))

    def _execute(self, text: str) -> None:
        """Execute statements of the sandbox itself."""
        self.call(partial(statements.execute, self.shared, text))

    def end_writer(self, *, keeps: bool) -> None:
        """Move the savepoint forward or return to it, and let another transaction write."""
        try:
            if keeps:
                self.call(self._read_schema().commit)
            else:
                self._execute(statements.ROLLBACK)
        except Exception as error:
            if "tests_harness" in str(error):  # the savepoint
                raise lost(error) from error
            self._execute(statements.ROLLBACK)
            raise
        finally:
            self.writer = None
            self._lock.notify_all()

    async def _wait_for_writer(self, connection: SandboxConnection, code: str) -> None:
        try:
            async with asyncio.timeout(WAIT_TIMEOUT):
                await self._lock.acquire()
                try:
                    while (writer := self.writer) and writer is not connection:
                        writer.refuse_endless_wait()
                        if NOWAIT.search(code):
                            raise TransactionControlError(
                                "NOWAIT may fail or not while another transaction writes, and the"
                                f" sandbox shows one at a time. {ADVICE}"
                            )
                        await self._lock.wait()
                except BaseException:
                    self._lock.release()
                    raise
        except TimeoutError:
            if self.writer:
                awaited, last = "the transaction", f" Its last statement: {self.writer.statement}"
            else:
                awaited, last = "a statement", ""
            raise CommitFirstError(
                f"This statement has waited {WAIT_TIMEOUT} seconds for {awaited} of another task,"
                " since the sandbox shows one at a time. If that task waits for this one, commit"
                f" its transaction first. Otherwise: {ADVICE}{last}"
            ) from None


def lost(error: Exception) -> TransactionControlError:
    """Return what to say if the sandbox's transaction has gone, of which `error` tells."""
    return TransactionControlError(
        "The sandbox's transaction is gone, or cannot be undone. Did this test end it by a"
        " procedure, write where no transaction is, or lose its connection?"
        f" {ADVICE} The database says: {error}"
    )


def comparable(options: dict[str, Any]) -> dict[str, Any]:
    """Return those `options` that must be the same for all engines of a test.

    Without objects, the password, which may be a token that is new for each connection, and what
    only names the connection or limits the time to connect.
    """
    ignored = {"password", "timeout", "application_name"}
    compared = {
        name: comparable(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if isinstance(value, COMPARABLE_TYPES) and name not in ignored
    }
    return {name: value for name, value in compared.items() if value != {}}
