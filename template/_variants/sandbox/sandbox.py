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
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.util import await_only, greenlet_spawn

from . import dialect as sql
from .application import get_engine
from .backend import Server
from .driver import DriverConnection, cancel, set_up
from .errors import CommitFirstError, TransactionControlError
from .watch import LEADING, shorten, wears

REAL_COMMITS: Final = "Mark the test with @pytest.mark.real_commits."

WAIT_LIMIT: Final = 5
"""Seconds that a statement waits for the transaction of another task."""

SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)
at_work: ContextVar[asyncio.Task[Any] | None] = ContextVar("at_work", default=None)
"""The task that has used the sandbox last; the tasks that it starts inherit it."""

CANCEL_AFTER: Final = 0.2
"""Seconds that a statement may go on whose task has been cancelled."""

PLAIN_TYPES: Final = (str, int, float, list, tuple, dict)
LITERAL: Final = re.compile(r"'[^']*'")
IMPATIENT: Final = re.compile(r"\b(NOWAIT|SKIP\s+LOCKED|pg_try_advisory\w*)\b", re.IGNORECASE)
"""What makes a statement not wait for locks."""
SAVEPOINT: Final = re.compile(
    r"(?P<verb>SAVEPOINT|RELEASE|ROLLBACK)\b.*?(?P<name>\S+)\s*\Z", re.IGNORECASE | re.DOTALL
)
"""What sets a savepoint, releases one, or returns to one."""


class Sandbox:
    """One real connection, shared by all that tests do on one event loop."""

    def __init__(self, server: Server) -> None:
        """Prepare a sandbox on the event loop that runs; it connects when it first has to.

        Args:
            server: what cancels statements.
        """
        self._server = server
        self.loop = asyncio.get_running_loop()
        self.shared: Any = None
        self.heard = set[str]()  # what listeners for "connect" have said to it
        self._options: dict[str, Any] = {}  # that it was opened with
        self.is_worn = False  # by statements whose effects may outlive a rollback
        self._turn = asyncio.Condition()  # held while the shared connection is in use
        self._set_up = asyncio.Event()
        self._begun = False
        self.writer: SandboxConnection | None = None  # whose transaction others wait for
        self._running: asyncio.Future[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None

    async def roll_back(self) -> None:
        """Forget all that has been written.

        Raises:
            TransactionControlError: the outer transaction has been ended, or the connection lost.
        """
        async with self._turn:
            self.writer = None
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

    async def close(self) -> None:
        """Close the shared connection. The next one that is asked for opens it again."""
        if self.shared is not None:
            self._set_up.clear()
            self.heard.clear()
            self._begun = self.is_worn = False
            connection, self.shared = self.shared, None
            await greenlet_spawn(connection.close)

    def connect(
        self, dialect: Dialect, args: list[Any], options: dict[str, Any]
    ) -> SandboxConnection:
        """Return a connection of this sandbox, opened with `args` and `options` if it is the first.

        Raises:
            TransactionControlError: it would not be like the first.
        """
        if not dialect.is_async:
            raise TransactionControlError(
                f"A sync engine cannot share the sandbox's connection. {REAL_COMMITS}"
            )
        # Not objects, nor the password: it may be a token that is made for each connection.
        plain = {name: value for name, value in options.items() if isinstance(value, PLAIN_TYPES)}
        ignored = {"password": None, "timeout": None}
        wanted = {"driver": dialect.driver, "address": args, **plain, **ignored}
        await_only(self._turn.acquire())
        try:
            if self.shared is None:
                self._options = wanted
                self.is_worn = dialect is not get_engine().dialect  # not as the application has it
                self.shared = dialect.connect(*args, **options)
                set_up(self.shared)
                return SandboxConnection(self, dialect, is_first=True)
        finally:
            self._turn.release()
        names = self._options.keys() | wanted.keys()
        if different := [n for n in names if self._options.get(n) != wanted.get(n)]:
            raise TransactionControlError(
                f"This engine connects with another {' and '.join(sorted(different))} than the"
                f" first of this test, whose connection the sandbox shares. {REAL_COMMITS}"
            )
        try:
            await_only(asyncio.wait_for(self._set_up.wait(), WAIT_LIMIT))
        except TimeoutError:  # whoever was first was cancelled
            return SandboxConnection(self, dialect, is_first=True)
        return SandboxConnection(self, dialect, is_first=False)

    def check_out(self, connection: SandboxConnection) -> None:
        """Take note that a pool has set up `connection`, and hands it out.

        Raises:
            sqlalchemy.exc.DisconnectionError: the shared connection is another one by now.
        """
        if connection.shared is not self.shared:
            raise DisconnectionError("the sandbox has another connection by now")
        connection.is_set_up = connection.is_checked_out = True
        self._set_up.set()
        if not self._begun:
            with self.turn(connection, writes=False):
                pass  # it has begun, before the driver's own connection can be had

    def check_in(self, connection: SandboxConnection) -> None:
        """Take note that a pool has `connection` back."""
        connection.is_checked_out = False

    @contextmanager
    def turn(
        self, connection: SandboxConnection, *, writes: bool, waits: bool = True
    ) -> Iterator[None]:
        """Hold the shared connection for one statement of `connection`.

        Args:
            connection: whose statement it is.
            writes: it is more than a plain read.
            waits: on a server, it would wait for others that write.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
            TransactionControlError: it would not wait, but has to.
        """
        if self.writer not in (None, connection) and not waits:
            raise TransactionControlError(
                "This statement does not wait for locks, and the sandbox cannot show what it does"
                f" while another transaction writes. {REAL_COMMITS}"
            )
        await_only(self._wait_for_writer(connection))
        try:
            if connection.is_set_up and not self._begun:
                self._begun = True  # also if this is cancelled: it is begun nevertheless
                self.send(sql.BEGIN)
            if writes:
                self.writer = connection
            yield
        except asyncio.CancelledError:
            # The statement may still be running. Whoever was cancelled does not wait for its end.
            # (Kept in an attribute, as the loop itself holds tasks only weakly.)
            self._recovery = create_task(self._recover())
            raise
        except BaseException:
            self._turn.release()
            raise
        else:
            self._turn.release()

    def claim(self, connection: SandboxConnection) -> None:
        """Let `connection` write, at once or not at all.

        Raises:
            CommitFirstError: another transaction writes.
        """
        if self.writer not in (None, connection):
            raise CommitFirstError(
                "The driver's own connection cannot be had while another transaction writes; commit"
                f" that first. Its last statement: {self.writer and self.writer.statement}"
            )
        self.writer = connection
        self.is_worn = True

    async def _recover(self) -> None:
        """Let a cancelled statement end, roll its transaction back, and let the others go on."""
        try:
            if self._running:
                await asyncio.wait([self._running], timeout=CANCEL_AFTER)
                if not self._running.done():
                    await cancel(self.shared, self._server)
                    await asyncio.wait([self._running])
                self._running.exception()  # nobody else wants to know
            await greenlet_spawn(self.release, sql.ROLLBACK)
        finally:
            self._turn.release()

    def run(self, function: Callable[[], Any]) -> Any:
        """Call `function`, which uses the shared connection; see `_recover` for cancellation.

        It goes on when whoever waits is cancelled: some drivers would close the connection.
        """
        self._running = create_task(greenlet_spawn(function))
        return await_only(asyncio.shield(self._running))

    def send(self, statements: str) -> None:
        """Execute statements of the sandbox's own."""
        self.run(partial(sql.send, self.shared, statements))

    def end(self, connection: SandboxConnection, statements: str) -> None:
        """End the transaction of `connection`; one that has only read has nothing to end."""
        if connection.is_writing:
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
            self.writer = None
            self._turn.notify_all()

    async def _wait_for_writer(self, connection: SandboxConnection) -> None:
        await self._turn.acquire()
        try:
            while (writer := self.writer) and writer is not connection:
                writer.refuse_own_task()
                async with asyncio.timeout(WAIT_LIMIT):
                    await self._turn.wait_for(lambda: self.writer is not writer)
        except TimeoutError:
            self._turn.release()
            raise CommitFirstError(
                f"This statement has waited {WAIT_LIMIT} seconds for the transaction of another"
                " task, since the sandbox shows one at a time. Does that one wait for this? Commit"
                " it before, or mark the test with @pytest.mark.real_commits."
                f" Its last statement: {self.writer and self.writer.statement}"
            ) from None
        except BaseException:
            self._turn.release()
            raise


class SandboxConnection(DriverConnection):
    """What a pool holds in place of a DBAPI connection: one transaction at a time in the sandbox.

    It has the methods of PEP 249 and those that the dialect calls; the rest is the shared one's.
    """

    def __init__(self, sandbox: Sandbox, dialect: Dialect, *, is_first: bool) -> None:
        self.sandbox = sandbox
        self.shared = sandbox.shared
        self.is_application_s = dialect is get_engine().dialect
        self.is_first = is_first
        self.is_set_up = False
        self.is_checked_out = False
        self._task: asyncio.Task[Any] | None = None
        self.statement = ""
        self._savepoints: list[str] = []  # by their names; what only reads does not really set them
        self._is_aborted = False
        # Statements that end settings with the transaction, and how many savepoints came before.
        self._restore: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shared, name)

    @property
    def _connection(self) -> Any:
        """The driver's own connection, which can do more, such as COPY: that is taken to write.

        (SQLAlchemy looks at it when a statement has failed.)
        """
        if self.is_checked_out and sys.exception() is None:
            self.sandbox.claim(self)
            self._task, self.statement = current_task(), "by the driver itself"
        return self.shared._connection

    def run_async(self, function: Callable[[Any], Any]) -> Any:
        """Call `function` with the driver's own connection, in turn: it is taken to write.

        When it is opened, as for codecs, once is enough for the connection that all share.
        """
        run = partial(self.shared.run_async, function)
        if self.is_set_up:
            with self.sandbox.turn(self, writes=True):
                return self.sandbox.run(run)
        return self.sandbox.run(run) if self.is_first else None

    def cursor(self, *_: Any, **__: Any) -> SandboxCursor:
        """Return a cursor. It is never a server-side one: another transaction's rollback would
        close it, so a streamed result is read at once and handed out from memory."""
        return SandboxCursor(self)

    def commit(self) -> None:
        """Keep what the transaction has written, until the test ends; unless it has failed."""
        restore = [*self._restore, sql.COMMIT] if self._restore else []
        self._end(sql.ROLLBACK if self._is_aborted else "; ".join([sql.COMMIT, *restore]))

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
            CommitFirstError: the current task has used this one last, or one that is over.
        """
        task = current_task()
        if self._task in (None, task) or self._task.done():
            raise CommitFirstError(
                "Commit first: this statement waits for a transaction that its own task has left"
                " open, and the sandbox shows one at a time. In production nobody would see what"
                " is not committed. Where two at once are meant, mark the test with"
                f" @pytest.mark.real_commits. Its last statement: {self.statement}"
            )

    def _end(self, statements: str) -> None:
        self._savepoints, self._restore, self._is_aborted = [], {}, False
        self.sandbox.end(self, statements)

    def execute(self, run: Callable[[], Any], statement: str, parameters: Any) -> Any:
        """Execute `statement` by calling `run`: in turn, and with the effects it has on a server.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
            TransactionControlError: it would end the sandbox's transaction.
        """
        text = LITERAL.sub("''", LEADING.sub("", statement))
        is_read = bool(sql.READ.match(text))
        if not self.is_set_up:
            return self._configure(run, statement, is_read=is_read)
        if not self.is_checked_out:
            return None  # in the pool, which asks whether it is alive
        if self.ignores(text):
            return None
        refuse_transaction_control(text)
        savepoint = SAVEPOINT.match(text)
        if self._is_aborted and not (savepoint and savepoint["verb"].upper() == "ROLLBACK"):
            raise self.shared.dbapi.InternalError(
                "current transaction is aborted, commands ignored until end of transaction block"
            )
        if savepoint and not self.is_writing and self._has(savepoint):
            return self._move(savepoint)
        begins = sql.BEGINNING.match(text)
        if begins:
            self.is_autocommit = False  # it was no more than a way to begin by hand
            if not sql.CLAIMING.match(text):
                return None
        was_writing = self.is_writing
        with self.sandbox.turn(self, writes=not is_read, waits=not IMPATIENT.search(text)):
            self._task, self.statement = current_task(), shorten(text)
            if begins:
                return None
            if self.is_writing and not was_writing:
                for name in self._savepoints:
                    self.sandbox.send(f"SAVEPOINT {name}")
            self.sandbox.is_worn |= wears(text)
            if setting := sql.keep_setting(statement, parameters):
                self._keep(*setting)
            try:
                result = self.sandbox.run(run)
            except Exception as error:
                self._fail(error)
                raise
            if self.is_autocommit and not is_read:
                self.sandbox.release(sql.COMMIT)
            if savepoint:
                self._move(savepoint)
            return result

    def _configure(self, run: Callable[[], Any], statement: str, *, is_read: bool) -> Any:
        """Execute what a listener for "connect" says, unless the shared one has heard it already.

        Raises:
            TransactionControlError: the shared one has heard something else.
        """
        heard = self.sandbox.heard
        if self.is_first:
            heard.add(statement)
        elif not is_read and statement not in heard and not self.ignores(statement):
            if self.is_application_s:  # and the first was not
                return self.sandbox.run(run)
            raise TransactionControlError(
                f"A listener for 'connect' says {shorten(statement)!r} to this connection, and did"
                f" not to the first of this test, which the sandbox shares. {REAL_COMMITS}"
            )
        return self.sandbox.run(run) if self.is_first or is_read else None

    @property
    def is_writing(self) -> bool:
        """Whether this is the transaction that has written."""
        return self.sandbox.writer is self

    def _has(self, savepoint: re.Match[str]) -> bool:
        """Tell whether a savepoint can be set, or released, or returned to."""
        return savepoint["verb"].upper() == "SAVEPOINT" or savepoint["name"] in self._savepoints

    def _move(self, savepoint: re.Match[str]) -> None:
        """Take note that a savepoint is set, or released, or returned to."""
        name = savepoint["name"]
        match savepoint["verb"].upper():
            case "SAVEPOINT":
                self._savepoints.append(name)
            case "RELEASE" if name in self._savepoints:
                left = self._savepoints.index(name)
                del self._savepoints[left:]
                self._restore = {key: min(n, left) for key, n in self._restore.items()}
            case "ROLLBACK" if name in self._savepoints:
                left = self._savepoints.index(name)
                del self._savepoints[left + 1 :]
                self._restore = {key: n for key, n in self._restore.items() if n <= left}
                self._is_aborted = False

    def _keep(self, keep: str, restore: str) -> None:
        """Keep the value of a setting that is about to change, and restore it at the commit."""
        if restore not in self._restore:
            self.sandbox.send(keep)
            self._restore[restore] = len(self._savepoints)

    def _fail(self, error: Exception) -> None:
        """Let a failed statement undo what it undoes on a server, and release its locks."""
        if self.is_autocommit:
            self.sandbox.release(sql.ROLLBACK)
        elif sql.aborts_transaction(error):
            if not (self._savepoints and self.is_writing):  # to return to one is still possible
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
        return self._connection.execute(run, statement, parameters)

    def executemany(self, statement: str, parameters: Any) -> Any:
        """Execute `statement` for all `parameters`, as PEP 249 says."""
        run = partial(self._cursor.executemany, statement, parameters)
        return self._connection.execute(run, statement, None)


def current_task() -> asyncio.Task[Any] | None:
    """Return the current task, or the one for which SQLAlchemy has started it.

    SQLAlchemy ends an `async with` in a task of its own, lest it be cancelled half-way.
    """
    task = asyncio.current_task()
    code = getattr(task and task.get_coro(), "cr_code", None)
    if code and code.co_filename.startswith(SQLALCHEMY):
        return at_work.get(task)
    at_work.set(task)
    return task


def create_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task that is the harness's own, as its name says."""
    return asyncio.create_task(coroutine, name=__package__)


def refuse_transaction_control(statement: str) -> None:
    """Refuse a statement that would end the outer transaction, or would do something else here.

    Raises:
        TransactionControlError: it would.
    """
    if sql.ENDING.match(statement):
        raise TransactionControlError(
            f"A raw {shorten(statement)!r} ends a transaction behind the back of SQLAlchemy and of"
            " the sandbox. Call commit() or rollback() of the session or the connection."
        )
    for refused, reason in sql.REFUSED:
        if refused.match(statement):
            raise TransactionControlError(f"{shorten(statement)!r} {reason}. {REAL_COMMITS}")
