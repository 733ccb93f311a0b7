"""A sandbox between SQLAlchemy's pool and the driver: it behaves like the database, and forgets.

While it is open, every connection that a pool opens to the tests' database is a proxy of one
shared, real connection. SQLAlchemy, and so the application, uses the proxies as it uses any DBAPI
connection: it keeps its engines, pools and sessions, and nothing in it is replaced. Ecto's SQL
sandbox is the model of the idea; SQLAlchemy's event `do_connect` is what makes it possible.

On the shared connection one outer transaction is open, and in it one savepoint: the state that
counts as committed.

* COMMIT moves the savepoint forward, ROLLBACK returns to it. To begin costs nothing, and neither
  does a transaction that only reads.
* One transaction writes at a time: it holds the sandbox from its first statement that is not a
  plain read until it ends. Meanwhile the statements of all others wait, so nobody ever sees what
  is not committed. What READ COMMITTED shows on a server is what is seen here.
* A statement that waits for a transaction which its own task has left open would wait for ever:
  it gets an error at once. One that waits for another task gets it after `WAIT_LIMIT` seconds.
* After the test the outer transaction is rolled back.
"""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final

from sqlalchemy import URL, Dialect, Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.util import await_only, greenlet_spawn

from . import dialect as sql
from .driver import DriverConnection, set_up
from .errors import (
    CommitFirstError,
    LeakError,
    OutsideTestError,
    TransactionControlError,
    WrongLoopError,
)

WAIT_LIMIT: Final = 5
"""Seconds that a statement waits for the transaction of another task."""

LEADING: Final = re.compile(r"\A(\s|\(|(--|#)[^\n]*\n|/\*(?!!).*?\*/)+", re.DOTALL)
LITERAL: Final = re.compile(r"'[^']*'")
PLAIN: Final = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|SELECT|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE
)
"""A statement whose effects a rollback undoes, to the last temporary table and cached type."""
SAVEPOINT: Final = re.compile(r"SAVEPOINT\b", re.IGNORECASE)
RELEASE: Final = re.compile(r"RELEASE\b", re.IGNORECASE)


class Sandbox:
    """One real connection, shared by all that a test does on one event loop."""

    current: ClassVar[Sandbox | None] = None
    database: ClassVar[URL | None] = None  # the tests'; it is used in a sandbox or not at all
    is_bypassed: ClassVar[bool] = False  # by a test with real commits

    def __init__(self) -> None:
        """Prepare a sandbox on the event loop that runs; it connects when it first has to."""
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Condition()  # held while the shared connection is in use
        self._set_up = asyncio.Event()
        self._begun = False
        self._writer: SandboxConnection | None = None
        self.test: object = None  # another one for each test
        self._running: asyncio.Future[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self.is_worn = False  # by statements whose effects may outlive a rollback
        self.shared: Any = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let connections to the tests' database be connections of this sandbox, for one test."""
        self.test = object()
        Sandbox.current = self
        try:
            yield
        finally:
            Sandbox.current = None

    @classmethod
    @contextmanager
    def bypass(cls) -> Iterator[None]:
        """Let connections to the tests' database be real."""
        cls.current, cls.is_bypassed = None, True
        try:
            yield
        finally:
            cls.is_bypassed = False

    async def roll_back(self) -> None:
        """Forget all that was written since the sandbox was opened.

        Raises:
            LeakError: a transaction is still open.
            TransactionControlError: the outer transaction has been ended, or the connection lost.
        """
        async with self._turn:
            writer, self._writer = self._writer, None
            if self._begun:
                self._begun = False
                try:
                    await greenlet_spawn(sql.send, self.shared, sql.END)
                except Exception as error:
                    raise TransactionControlError(
                        "The sandbox's transaction is gone. Did this test commit through the"
                        " driver itself, or lose its connection? Mark it with"
                        f" @pytest.mark.real_commits. The database says: {error}"
                    ) from error
        if self.is_worn:
            await self.close()
        if writer:
            raise LeakError(
                "This test has left a transaction open; close its session or connection."
                f" Its last statement: {writer.statement}"
            )

    async def close(self) -> None:
        """Close the shared connection. The next one that is asked for opens it again."""
        if self.shared is not None:
            self._set_up.clear()
            self._begun = self.is_worn = False
            connection, self.shared = self.shared, None
            await greenlet_spawn(connection.close)

    def connect(
        self, dialect: Dialect, args: list[Any], options: dict[str, Any]
    ) -> SandboxConnection:
        """Return a connection of this sandbox, opened with `args` and `options` if it is the first.

        Raises:
            WrongLoopError: another event loop runs than the sandbox's.
        """
        self._refuse_other_loop()
        await_only(self._turn.acquire())
        try:
            if self.shared is None:
                self.shared = dialect.connect(*args, **options)
                set_up(self.shared)
                return SandboxConnection(self, is_first=True)
        finally:
            self._turn.release()
        try:
            await_only(asyncio.wait_for(self._set_up.wait(), WAIT_LIMIT))
        except TimeoutError:  # whoever was first was cancelled
            return SandboxConnection(self, is_first=True)
        return SandboxConnection(self, is_first=False)

    def check_out(self, connection: SandboxConnection) -> None:
        """Take note that the pool has set up `connection`, and hands it out in the current test."""
        self._refuse_other_loop()
        connection.is_set_up, connection.test = True, self.test
        self._set_up.set()

    @contextmanager
    def turn(self, connection: SandboxConnection, *, writes: bool) -> Iterator[None]:
        """Hold the shared connection for one statement of `connection`.

        Args:
            connection: whose statement it is.
            writes: it is more than a plain read.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
        """
        await_only(self._wait_for_writer(connection))
        try:
            if connection.is_set_up and not self._begun:
                self._begun = True  # also if this is cancelled: it is begun nevertheless
                self.send(sql.BEGIN)
            if writes:
                self._writer = connection
            yield
        except asyncio.CancelledError:
            # The statement may still be running. Whoever was cancelled does not wait for its end.
            # (Kept in an attribute, as the loop itself holds tasks only weakly.)
            self._recovery = asyncio.create_task(self._recover())
            raise
        except BaseException:
            self._turn.release()
            raise
        else:
            self._turn.release()

    async def _recover(self) -> None:
        """Let a cancelled statement end, roll its transaction back, and let the others go on."""
        try:
            if self._running:
                await asyncio.wait([self._running])
                self._running.exception()  # nobody else wants to know
            await greenlet_spawn(self.release, sql.ROLLBACK)
        finally:
            self._turn.release()

    def run(self, function: Callable[[], Any]) -> Any:
        """Call `function`, which uses the shared connection; see `_recover` for cancellation.

        It goes on when whoever waits is cancelled: some drivers would close the connection.
        """
        self._running = asyncio.ensure_future(greenlet_spawn(function))
        return await_only(asyncio.shield(self._running))

    def send(self, statements: str) -> None:
        """Execute statements of the sandbox's own."""
        self.run(partial(sql.send, self.shared, statements))

    def end(self, connection: SandboxConnection, statements: str) -> None:
        """End the transaction of `connection`; one that has only read has nothing to end."""
        if self._writer is connection:
            with self.turn(connection, writes=True):
                self.release(statements)

    def release(self, statements: str) -> None:
        """Move the savepoint forward or return to it, and let another transaction write."""
        try:
            self.send(statements)
        except Exception:
            self.send(sql.ROLLBACK)
            raise
        finally:
            self._writer = None
            self._turn.notify_all()

    def _refuse_other_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError(
                "The database is used on another event loop than the test's, where its connections"
                " do not work. Starlette's TestClient starts such a loop; call the application"
                " through the fixture `client` instead."
            )

    async def _wait_for_writer(self, connection: SandboxConnection) -> None:
        await self._turn.acquire()
        try:
            while (writer := self._writer) and writer is not connection:
                writer.refuse_own_task()
                async with asyncio.timeout(WAIT_LIMIT):
                    await self._turn.wait_for(lambda: self._writer is not writer)
        except TimeoutError:
            self._turn.release()
            raise CommitFirstError(
                f"This statement has waited {WAIT_LIMIT} seconds for the transaction of another"
                " task. Does that one wait for this? Commit it, or roll it back, before waiting."
                f" Its last statement: {self._writer and self._writer.statement}"
            ) from None
        except BaseException:
            self._turn.release()
            raise


class SandboxConnection(DriverConnection):
    """What a pool holds in place of a DBAPI connection: one transaction at a time in the sandbox.

    It has the methods of PEP 249 and those that the dialect calls; the rest is the shared one's.
    """

    def __init__(self, sandbox: Sandbox, *, is_first: bool) -> None:
        self.sandbox = sandbox
        self.shared = sandbox.shared
        self.is_first = is_first
        self.is_set_up = False
        self.test: object = None  # the one that has it checked out
        self._task: asyncio.Task[Any] | None = None
        self.statement = ""
        self._savepoints = 0
        self._is_aborted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shared, name)

    @property
    def is_open(self) -> bool:
        """Whether the sandbox is open, on the connection that it had when this one was made."""
        return self.sandbox is Sandbox.current and self.shared is self.sandbox.shared

    def cursor(self, *_: Any, **__: Any) -> SandboxCursor:
        """Return a cursor. It is never a server-side one: another transaction's rollback would
        close it, so a streamed result is read at once and handed out from memory."""
        return SandboxCursor(self)

    def commit(self) -> None:
        """Keep what the transaction has written, until the test ends."""
        self._end(sql.COMMIT)

    def rollback(self) -> None:
        """Undo what the transaction has written."""
        self._end(sql.ROLLBACK)

    def close(self) -> None:
        """Undo what the transaction has written; the shared connection stays open."""
        self.rollback()

    terminate = close

    def ping(self, *_: Any, **__: Any) -> None:
        """Do nothing: were the shared connection lost, so would be the test."""

    def refuse_own_task(self) -> None:
        """Refuse that a task waits for its own transaction.

        Raises:
            CommitFirstError: the current task has used this one last.
        """
        if self._task is asyncio.current_task():
            raise CommitFirstError(
                "Commit first: this statement waits for a transaction that its own task has left"
                " open, so it would wait for ever. The application would not see what is not"
                f" committed in production either. Its last statement: {self.statement}"
            )

    def _end(self, statements: str) -> None:
        self._savepoints, self._is_aborted = 0, False
        self.sandbox.end(self, statements)

    def execute(self, run: Callable[[], Any], statement: str) -> Any:
        """Execute `statement` by calling `run`: in turn, and with the effects it has on a server.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
            TransactionControlError: it would end the sandbox's transaction.
        """
        text = LITERAL.sub("''", LEADING.sub("", statement))
        is_read = bool(sql.READ.match(text))
        if not self.is_set_up:
            # Listeners for "connect" say to each connection what the shared one has heard already.
            return self.sandbox.run(run) if self.is_first or is_read else None
        if self.test is None:
            return None  # in the pool, where it is only asked whether it is alive
        if self.test is not self.sandbox.test:
            raise LeakError(
                "This connection was taken from the pool in a test that is over. Was a task, a"
                f" session or a connection left open? Its last statement: {self.statement}"
            )
        if self.ignores(text):
            return None
        refuse_transaction_control(text)
        if self._is_aborted:
            raise self.shared.dbapi.InternalError(
                "current transaction is aborted, commands ignored until end of transaction block"
            )
        begins = sql.BEGINNING.match(text)
        if begins:
            self.is_autocommit = False  # it was no more than a way to begin by hand
            if not sql.CLAIMING.match(text):
                return None
        with self.sandbox.turn(self, writes=not is_read):
            self._task, self.statement = asyncio.current_task(), shorten(text)
            if begins:
                return None
            self.sandbox.is_worn |= not is_read and not PLAIN.match(text)
            try:
                result = self.sandbox.run(run)
            except Exception as error:
                self._fail(error)
                raise
            if self.is_autocommit and not is_read:
                self.sandbox.release(sql.COMMIT)
            self._savepoints += bool(SAVEPOINT.match(text)) - bool(RELEASE.match(text))
            return result

    def _fail(self, error: Exception) -> None:
        """Let a failed statement undo what it undoes on a server, and release its locks."""
        if self.is_autocommit:
            self.sandbox.release(sql.ROLLBACK)
        elif sql.aborts_transaction(error) and not self._savepoints:
            self.sandbox.release(sql.ROLLBACK)
            self._is_aborted = True


class SandboxCursor:
    """A cursor that takes its turn on the shared connection."""

    def __init__(self, connection: SandboxConnection) -> None:
        # Not by assignment, which goes to the real cursor.
        vars(self).update(_connection=connection, _cursor=connection.shared.cursor())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Execute `statement` as PEP 249 says."""
        run = partial(self._cursor.execute, statement, parameters)
        return self._connection.execute(run, statement)

    def executemany(self, statement: str, parameters: Any) -> Any:
        """Execute `statement` for all `parameters`, as PEP 249 says."""
        run = partial(self._cursor.executemany, statement, parameters)
        return self._connection.execute(run, statement)


def asks_for(url: URL, dialect: Dialect, args: list[Any], options: dict[str, Any]) -> bool:
    """Tell whether a connection with `args` and `options` would go to the database `url`."""
    own_args, own_options = dialect.create_connect_args(url)
    return [*own_args] == [*args] and own_options.items() <= options.items()


def refuse_transaction_control(statement: str) -> None:
    """Refuse a statement that would end the outer transaction.

    Raises:
        TransactionControlError: it would.
    """
    if sql.ENDING.match(statement):
        raise TransactionControlError(
            f"A raw {shorten(statement)!r} ends a transaction behind the back of SQLAlchemy and of"
            " the sandbox. Call commit() or rollback() of the session or the connection."
        )
    if sql.COMMITTING.match(statement):
        raise TransactionControlError(
            f"{shorten(statement)!r} commits by itself on this database, which would end the"
            " sandbox. Mark the test with @pytest.mark.real_commits."
        )


def shorten(statement: str) -> str:
    """Return the beginning of `statement`, on one line."""
    return textwrap.shorten(statement, width=100, placeholder=" ...")


@event.listens_for(Engine, "do_connect")
def connect(
    dialect: Dialect, entry: ConnectionPoolEntry, args: list[Any], options: dict[str, Any]
) -> SandboxConnection | None:
    """Connect to the open sandbox; to other databases as always.

    Raises:
        OutsideTestError: there is no open sandbox.
    """
    if not Sandbox.database or not asks_for(Sandbox.database, dialect, args, options):
        return None
    if Sandbox.current:
        return Sandbox.current.connect(dialect, args, options)
    if not Sandbox.is_bypassed:
        raise OutsideTestError(
            "The database is used outside of a test, where nothing that is written would be undone."
            " A fixture that uses it has the scope of a function. Reference data that all tests"
            " see belongs into a migration."
        )
    entry.info["is_real"] = True
    return None


@event.listens_for(Pool, "checkout")
def check_out(connection: Any, entry: ConnectionPoolEntry, _: object) -> None:
    """Refuse a pooled connection of another test's kind; the pool then opens one of the right."""
    if Sandbox.current and "is_real" in entry.info:
        raise DisconnectionError("this connection belongs to a test with real commits")
    if isinstance(connection, SandboxConnection):
        if not connection.is_open:
            raise DisconnectionError("this connection belongs to a sandbox that is closed")
        connection.sandbox.check_out(connection)


@event.listens_for(Pool, "checkin")
def check_in(connection: Any, entry: ConnectionPoolEntry) -> None:
    """Take note that the connection is in the pool again."""
    if isinstance(connection, SandboxConnection):
        connection.test = None
