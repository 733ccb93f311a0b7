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
from ..database.server import Server
from ..errors import CommitFirstError, TransactionControlError
from ..watch.tasks import create_task
from . import dialect as sql
from .connection import REAL_COMMITS, SandboxConnection
from .driver import cancel, set_up

WAIT_TIMEOUT: Final = 5
"""Seconds that a statement waits for the transaction, or a statement, of another task."""
CANCEL_TIMEOUT: Final = 0.2
"""Seconds that a statement may go on whose task has been cancelled."""

PLAIN_TYPES: Final = (str, int, float, list, tuple, dict)
NAME: Final = re.compile(r'([\w$]+|"[^"]+"|`[^`]+`|[-+*/<>=~!@#%^&|?]+)(\s*\()?')
"""A name or an operator, and what shows that it is a function's."""


class Sandbox:
    """One real connection, shared by all that tests do on one event loop."""

    def __init__(self, server: Server) -> None:
        """Prepare a sandbox on the event loop that runs; it connects when it first has to.

        Args:
            server: what cancels statements.
        """
        self._server = server
        self.shared: Any = None
        self.setup_statements = dict[str, None]()  # of listeners for "connect", in order
        self._options: dict[str, Any] = {}  # that it was opened with
        self.session_changed = False  # by statements whose effects may outlive a rollback
        self._lock = asyncio.Condition()  # held while the shared connection is in use
        self._opening: asyncio.Task[None] | None = None  # if it is open, too
        self._begun = False
        self.writers: set[str] | None = None  # names of what writes in a plain SELECT, if known
        self._commit = ""  # the statements that move the savepoint forward
        self.writer: SandboxConnection | None = None  # whose transaction others wait for
        self._running: asyncio.Future[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def roll_back(self) -> None:
        """Forget all that has been written.

        Raises:
            TransactionControlError: that is not possible, or the outer transaction has been ended.
        """
        if self._recovery:
            await asyncio.wait([self._recovery])
        if self._lock.locked():  # by what outlives the test, as a task of a wider fixture
            await self._stop()
        async with self._lock:
            self.writer = None
            if self._begun:
                self._begun = False
                try:
                    await greenlet_spawn(sql.send, self.shared, sql.END)
                except Exception as error:
                    raise TransactionControlError(
                        "The sandbox's transaction is gone, or cannot be undone. This test may have"
                        " called a procedure that commits, written where no transaction is, or lost"
                        f" its connection. {REAL_COMMITS} The database says: {error}"
                    ) from error
        if self.session_changed:
            await self.close()

    async def close(self) -> None:
        """Close the shared connection. The next one that is asked for opens it again."""
        if self._opening:
            with suppress(Exception):  # which those have got who wait for it
                await asyncio.wait_for(self._opening, WAIT_TIMEOUT)
        if self.shared is not None:
            self._closing = create_task(self._close(self._forget()))
            await asyncio.shield(self._closing)

    async def _close(self, shared: Any) -> None:
        """Close what was shared, once the statement has ended of a task that was cancelled."""
        if self._running and not self._running.done():
            await asyncio.wait([self._running], timeout=WAIT_TIMEOUT)
        await greenlet_spawn(shared.close)

    def _forget(self) -> Any:
        """Return the shared connection, which is not the sandbox's any more."""
        self.setup_statements.clear()
        self._begun = self.session_changed = False
        self.writers = self._opening = None
        connection, self.shared = self.shared, None
        return connection

    async def _open(self) -> None:
        """Open the shared connection as the application opens its own, whose listeners set it up.

        In a task of its own, which goes on when one is cancelled that waits for it.
        """
        pool = get_engine().sync_engine.pool.recreate()
        try:
            await greenlet_spawn(lambda: pool.connect().close())
        except BaseException:
            self._opening = None
            if self.shared is not None:
                await self._close(self._forget())
            raise
        finally:
            await greenlet_spawn(pool.dispose)

    def connect(
        self, dialect: Dialect, args: list[Any], options: dict[str, Any]
    ) -> SandboxConnection:
        """Return a connection of this sandbox; open the one that all share if it is not.

        Raises:
            TransactionControlError: opened with `args` and `options`, it would not be like that.
        """
        if not dialect.is_async:
            raise TransactionControlError(
                f"A sync engine cannot share the sandbox's connection. {REAL_COMMITS}"
            )
        wanted = {"driver": dialect.driver, "address": args, **comparable(options)}
        if asyncio.current_task() is self._opening:
            self._options = wanted
            self.shared = dialect.connect(*args, **options)
            set_up(self.shared)
            return SandboxConnection(self, is_first=True)
        if self._opening is None:
            self._opening = create_task(self._open())
        await_only(asyncio.shield(self._opening))
        names = self._options.keys() | wanted.keys()
        if different := [n for n in names if self._options.get(n) != wanted.get(n)]:
            raise TransactionControlError(
                f"This engine connects with another {' and '.join(sorted(different))} than the"
                f" application's, whose connection the sandbox shares. {REAL_COMMITS}"
            )
        return SandboxConnection(self, is_first=False)

    def _calls_writer(self, statement: str) -> bool:
        """Tell whether `statement` names a function that may write, or something that calls one."""
        found = NAME.findall(statement.lower())
        names = {name.strip('"`') + "(" * bool(bracket) for name, bracket in found}
        self._read_schema()
        return not names.isdisjoint(self.writers or ())

    def _read_schema(self) -> None:
        """Read what depends on the schema, unless that is known: what writes, and how to commit."""

        def read() -> None:
            self._commit = sql.commit(self.shared, self.setup_statements)
            self.writers = sql.writers(self.shared)

        if self.writers is None:
            self.run(read)

    @contextmanager
    def turn(
        self, connection: SandboxConnection, text: str, *, is_plain_read: bool
    ) -> Iterator[bool]:
        """Hold the shared connection for one statement of `connection`.

        Args:
            connection: whose statement it is.
            text: the statement.
            is_plain_read: it reads only, if it does not call a function that writes.

        Yields:
            Whether it writes, and so the transaction of `connection` is the one that does.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
        """
        await_only(self._wait_for_writer(connection))
        try:
            if connection.is_set_up and not self._begun:
                self._begun = True  # also if this is cancelled: it is begun nevertheless
                self.send(sql.BEGIN)
            writes = not is_plain_read or self._calls_writer(text)
            if writes:
                self.writer = connection
            yield writes
        except asyncio.CancelledError:
            # The statement may still be running. Whoever was cancelled does not wait for its end;
            # `_recover` does, and releases the connection.
            # (Kept in an attribute, as the loop itself holds tasks only weakly.)
            self._recovery = create_task(self._recover())
            raise
        except BaseException:
            self._lock.release()
            raise
        else:
            self._lock.release()

    async def _recover(self) -> None:
        """Let a cancelled statement end, roll its transaction back, and let the others go on."""
        try:
            await self._stop()
            await greenlet_spawn(partial(self.finish_transaction, keeps=False))
        finally:
            self._lock.release()

    async def _stop(self) -> None:
        """Let the statement that runs end, of itself or not."""
        if self._running:
            await asyncio.wait([self._running], timeout=CANCEL_TIMEOUT)
            if not self._running.done():
                await cancel(self.shared, self._server)
                await asyncio.wait([self._running], timeout=WAIT_TIMEOUT)
            if not self._running.done():  # the server does not hear: the test is lost
                await greenlet_spawn(self.shared.terminate)
                await asyncio.wait([self._running])

    def run(self, function: Callable[[], Any]) -> Any:
        """Call `function`, which uses the shared connection; see `_recover` for cancellation.

        It goes on when whoever waits is cancelled: some drivers would close the connection.
        """
        self._running = create_task(greenlet_spawn(function))
        return await_only(asyncio.shield(self._running))

    def send(self, statements: str) -> None:
        """Execute statements of the sandbox's own."""
        self.run(partial(sql.send, self.shared, statements))

    def end_transaction_of(self, connection: SandboxConnection, *, keeps: bool) -> None:
        """End the transaction of `connection`; one that has only read has nothing to end.

        Args:
            connection: whose transaction it is.
            keeps: what it has written.
        """
        if connection.is_writing:
            with self.turn(connection, "", is_plain_read=False):
                is_lost = connection.has_failed and self.run(partial(sql.aborted, self.shared))
                self.finish_transaction(keeps=keeps and not is_lost)

    def finish_transaction(self, *, keeps: bool) -> None:
        """Move the savepoint forward or return to it, and let another transaction write."""
        try:
            if keeps:
                self._read_schema()  # which knows how to commit
            self.send(self._commit if keeps else sql.ROLLBACK)
        except Exception:
            self.send(sql.ROLLBACK)
            raise
        finally:
            self.writer = None
            self._lock.notify_all()

    async def _wait_for_writer(self, connection: SandboxConnection) -> None:
        try:
            async with asyncio.timeout(WAIT_TIMEOUT):
                await self._lock.acquire()
                try:
                    while (writer := self.writer) and writer is not connection:
                        writer.refuse_own_task()
                        await self._lock.wait()
                except BaseException:
                    self._lock.release()
                    raise
        except TimeoutError:
            last = (
                f" The last statement of that transaction: {self.writer.statement}"
                if self.writer
                else ""
            )
            raise CommitFirstError(
                f"This statement has waited {WAIT_TIMEOUT} seconds for the transaction of another"
                " task, since the sandbox shows one at a time. If that task waits for this one,"
                f" commit its transaction first. Otherwise: {REAL_COMMITS}{last}"
            ) from None


def comparable(options: dict[str, Any]) -> dict[str, Any]:
    """Return those `options` that must be the same for all engines of a test.

    Not objects; nor the password, which may be a token that is made for each connection; nor what
    only names the connection, or limits the time to connect.
    """
    ignored = {"password", "timeout", "application_name"}
    plain = {
        name: comparable(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if isinstance(value, PLAIN_TYPES) and name not in ignored
    }
    return {name: value for name, value in plain.items() if value != {}}
