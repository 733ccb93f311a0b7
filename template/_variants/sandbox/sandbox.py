"""A sandbox between SQLAlchemy's pool and the driver: it behaves like the database, and forgets.

While it is open, every connection that a pool opens to the tests' database is a proxy of one
shared, real connection. SQLAlchemy, and so the application, uses the proxies as it uses any DBAPI
connection: it keeps its engines, pools and sessions, and nothing in it is replaced. Ecto's SQL
sandbox is the model of the idea; SQLAlchemy's event `do_connect` is what makes it possible.

On the shared connection one outer transaction is open, and in it one savepoint: the state that
counts as committed.

* COMMIT moves the savepoint forward, ROLLBACK returns to it. To begin costs nothing, and neither
  does a transaction that only reads.
* One transaction writes at a time: it holds the sandbox from its first statement that is not
  surely a plain read until it ends. Meanwhile the statements of all others wait, so nobody ever
  sees what is not committed. What READ COMMITTED shows on a server is what is seen here.
* A statement that waits for a transaction which its own task has left open would wait forever:
  it gets an error at once. One that waits for another task gets it after `WAIT_LIMIT` seconds.
* What belongs to one session (settings that outlive their transaction, temporary tables, locks of
  the session, the driver's own connection) is refused: all share one session.
* After the test the outer transaction is rolled back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from itertools import islice
from pathlib import Path
from traceback import walk_stack
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
from .loop import runner_tasks
from .watch import PLAIN, create_task, shorten

REAL_COMMITS: Final = "Mark the test with @pytest.mark.real_commits."

WAIT_LIMIT: Final = 5
"""Seconds that a statement waits for the transaction, or a statement, of another task."""

CANCEL_AFTER: Final = 0.2
"""Seconds that a statement may go on whose task has been cancelled."""

SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)
at_work: ContextVar[asyncio.Task[Any] | None] = ContextVar("at_work", default=None)
"""The task that has used the sandbox last; the tasks that it starts inherit it."""

PLAIN_TYPES: Final = (str, int, float, list, tuple, dict)
OF_TRANSACTION: Final = re.compile(r"(SAVEPOINT|RELEASE|ROLLBACK|LOCK)\b", re.IGNORECASE)
OF_SAVEPOINT: Final = re.compile(r"(RELEASE|ROLLBACK)\b", re.IGNORECASE)
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
        self.heard = dict[str, None]()  # what listeners for "connect" have said to it, in order
        self._options: dict[str, Any] = {}  # that it was opened with
        self.is_worn = False  # by statements whose effects may outlive a rollback
        self._turn = asyncio.Condition()  # held while the shared connection is in use
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
        if self._turn.locked():  # by what outlives the test, as a task of a wider fixture
            await self._stop()
        async with self._turn:
            self.writer = None
            if self._begun:
                self._begun = False
                try:
                    await greenlet_spawn(sql.send, self.shared, sql.END)
                except Exception as error:
                    raise TransactionControlError(
                        "The sandbox's transaction is gone, or cannot be undone. Did this test end"
                        " it by a procedure, write where no transaction is, or lose its connection?"
                        f" {REAL_COMMITS} The database says: {error}"
                    ) from error
        if self.is_worn:
            await self.close()

    async def close(self) -> None:
        """Close the shared connection. The next one that is asked for opens it again."""
        if self._opening:
            with suppress(Exception):  # which those have got who wait for it
                await asyncio.wait_for(self._opening, WAIT_LIMIT)
        if self.shared is not None:
            self._closing = create_task(self._close(self._forget()))
            await asyncio.shield(self._closing)

    async def _close(self, shared: Any) -> None:
        """Close what was shared, once the statement has ended of a task that was cancelled."""
        if self._running and not self._running.done():
            await asyncio.wait([self._running], timeout=WAIT_LIMIT)
        await greenlet_spawn(shared.close)

    def _forget(self) -> Any:
        """Return the shared connection, which is not the sandbox's any more."""
        self.heard.clear()
        self._begun = self.is_worn = False
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

    def check_out(self, connection: SandboxConnection) -> None:
        """Take note that a pool has set up `connection`, and hands it out.

        Raises:
            sqlalchemy.exc.DisconnectionError: the shared connection is another one by now.
        """
        if connection.shared is not self.shared:
            raise DisconnectionError("the sandbox has another connection by now")
        connection.is_set_up = connection.is_checked_out = True

    def check_in(self, connection: SandboxConnection) -> None:
        """Take note that a pool has `connection` back."""
        connection.is_checked_out = False

    def _calls_writer(self, statement: str) -> bool:
        """Tell whether `statement` names a function that may write, or something that calls one."""
        found = NAME.findall(statement.lower())
        names = {name.strip('"`') + "(" * bool(bracket) for name, bracket in found}
        return not names.isdisjoint(self._look())

    def _look(self) -> set[str]:
        """Look at the schema, unless that is known; return the names of what writes."""

        def look() -> None:
            self._commit = sql.commit(self.shared, self.heard)
            self.writers = sql.writers(self.shared)

        if self.writers is None:
            self.run(look)
        return self.writers or set()

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
            self._turn.release()
            raise
        else:
            self._turn.release()

    async def _recover(self) -> None:
        """Let a cancelled statement end, roll its transaction back, and let the others go on."""
        try:
            await self._stop()
            await greenlet_spawn(partial(self.release, keeps=False))
        finally:
            self._turn.release()

    async def _stop(self) -> None:
        """Let the statement that runs end, of itself or not."""
        if self._running:
            await asyncio.wait([self._running], timeout=CANCEL_AFTER)
            if not self._running.done():
                await cancel(self.shared, self._server)
                await asyncio.wait([self._running], timeout=WAIT_LIMIT)
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

    def end(self, connection: SandboxConnection, *, keeps: bool) -> None:
        """End the transaction of `connection`; one that has only read has nothing to end.

        Args:
            connection: whose transaction it is.
            keeps: what it has written.
        """
        if connection.is_writing:
            with self.turn(connection, "", is_plain_read=False):
                is_lost = connection.has_failed and self.run(partial(sql.aborted, self.shared))
                self.release(keeps=keeps and not is_lost)

    def release(self, *, keeps: bool) -> None:
        """Move the savepoint forward or return to it, and let another transaction write."""
        try:
            if keeps:
                self._look()
            self.send(self._commit if keeps else sql.ROLLBACK)
        except Exception:
            self.send(sql.ROLLBACK)
            raise
        finally:
            self.writer = None
            self._turn.notify_all()

    async def _wait_for_writer(self, connection: SandboxConnection) -> None:
        try:
            async with asyncio.timeout(WAIT_LIMIT):
                await self._turn.acquire()
                try:
                    while (writer := self.writer) and writer is not connection:
                        writer.refuse_own_task()
                        await self._turn.wait()
                except BaseException:
                    self._turn.release()
                    raise
        except TimeoutError:
            last = f" Its last statement: {self.writer.statement}" if self.writer else ""
            raise CommitFirstError(
                f"This statement has waited {WAIT_LIMIT} seconds for the transaction of another"
                " task, since the sandbox shows one at a time. Does that one wait for this? Commit"
                f" it before, or mark the test with @pytest.mark.real_commits.{last}"
            ) from None


class SandboxConnection(DriverConnection):
    """What a pool holds in place of a DBAPI connection: one transaction at a time in the sandbox.

    It has the methods of PEP 249 and those that the dialect calls; the rest is the shared one's.
    """

    def __init__(self, sandbox: Sandbox, *, is_first: bool) -> None:
        self.sandbox = sandbox
        self.shared = sandbox.shared
        self.is_first = is_first
        self.is_set_up = False
        self.is_checked_out = False
        self._task: asyncio.Task[Any] | None = None
        self.statement = ""
        self.has_failed = False  # a statement; then it may be aborted
        self._has_savepoints = self._has_begun = False
        self._aborted: Exception | None = None  # what all statements get until it ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shared, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The shared connection's: listeners ask what they are given."""
        return type(self.shared)

    @property
    def _connection(self) -> Any:
        """The driver's own connection, which would work past the sandbox.

        (SQLAlchemy looks at it when it asks whether an error comes from a lost connection.)

        Raises:
            TransactionControlError: it is more than set up.
        """
        callers = (frame.f_code.co_name for frame, _ in islice(walk_stack(None), 5))
        if self.is_set_up and "is_disconnect" not in callers:
            self._refuse_driver()
        return self.shared._connection

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection, as listeners ask for it."""
        return self._connection

    def run_async(self, function: Callable[[Any], Any]) -> Any:
        """Call `function` with the driver's own connection, as listeners for "connect" do.

        Once is enough for the connection that all share.

        Raises:
            TransactionControlError: it is more than set up.
        """
        if self.is_set_up:
            self._refuse_driver()
        return self.shared.run_async(function) if self.is_first else None

    def _refuse_driver(self) -> None:
        raise TransactionControlError(
            "The driver's own connection works past the sandbox, which could neither follow nor"
            f" undo what it does. {REAL_COMMITS}"
        )

    def cursor(self, *_: Any, **__: Any) -> SandboxCursor:
        """Return a cursor. It is never a server-side one: another transaction's rollback would
        close it, so a streamed result is read at once and handed out from memory."""
        return SandboxCursor(self)

    def execute(self, statement: str, parameters: Any = None) -> SandboxCursor:
        """Execute `statement` by a cursor of its own; many drivers have this, beyond PEP 249."""
        cursor = self.cursor()
        cursor.execute(statement, parameters)
        return cursor

    def commit(self) -> None:
        """Keep what the transaction has written, until the test ends; unless it is aborted."""
        self._end(keeps=True)

    def rollback(self) -> None:
        """Undo what the transaction has written."""
        self._end(keeps=False)

    def close(self) -> None:
        """Undo what the transaction has written; the shared connection stays open."""
        self.rollback()

    terminate = close

    def ping(self, *_: Any, **__: Any) -> None:
        """Do nothing: were the shared connection lost, so would be the test."""

    def refuse_own_task(self) -> None:
        """Refuse that a task waits for its own transaction.

        That is so if it has used this one last; or if the task that did is over, as one that has
        run a fixture, and there is no other that could end it.

        Raises:
            CommitFirstError: nobody will end this transaction.
        """
        task = current_task()
        running = asyncio.all_tasks() - runner_tasks()
        others = [other for other in running if other.get_name() != __package__]
        if self._task in (None, task) or (self._task.done() and not others):
            raise CommitFirstError(
                "Commit first: this statement waits for a transaction that its own task has left"
                " open, and the sandbox shows one at a time. In production nobody would see what"
                " is not committed. Where two at once are meant, mark the test with"
                f" @pytest.mark.real_commits. Its last statement: {self.statement}"
            )

    def _end(self, *, keeps: bool) -> None:
        try:
            self.sandbox.end(self, keeps=keeps)
        finally:
            self.has_failed = self._has_savepoints = self._has_begun = False
            self._aborted = None

    def run_statement(self, run: Callable[[], Any], statement: str, parameters: Any) -> Any:
        """Execute `statement` by calling `run`: in turn, and with the effects it has on a server.

        Raises:
            CommitFirstError: it waits for a transaction that does not end.
            TransactionControlError: the sandbox cannot show what it does.
        """
        text = sql.NOT_CODE.sub(blank, statement).lstrip("( \t\r\n")
        parts = [part for part in text.split(";") if part.strip()] or [""]
        is_plain_read = all(map(sql.READ.match, (part.lstrip("( \t\r\n") for part in parts)))
        if not self.is_set_up:
            return self._hear(run, statement, parameters, is_read=is_plain_read)
        is_ping = not self.is_checked_out and statement == sql.PING
        if is_ping or self.ignores(text):
            return None
        for part in parts:
            self._refuse(part.lstrip(), parameters)
        if self._aborted:
            raise self._aborted
        # By hand, for which it was in autocommit mode.
        begins = sql.BEGINNING.match(text) and not (self._has_begun or self.is_writing)
        with self.sandbox.turn(self, text, is_plain_read=is_plain_read) as writes:
            self._task, self.statement = current_task(), shorten(text)
            self._has_savepoints |= text[:9].upper() == "SAVEPOINT"
            if begins:
                self._has_begun, run = True, do_nothing
            try:
                result = self.sandbox.run(run)
            except Exception:
                self.has_failed = True
                self._fail()
                raise
            if not is_plain_read and not PLAIN.match(text):
                self.sandbox.is_worn = True
                self.sandbox.writers = None  # other ones, perhaps
            elif is_plain_read and writes:  # by a function, which may set variables, too
                self.sandbox.is_worn = True
            if writes and (self.commits_itself or not self.is_checked_out):
                self.sandbox.release(keeps=True)
            return result

    def _refuse(self, statement: str, parameters: Any) -> None:
        """Refuse what would end the outer transaction, or would do something else here.

        Raises:
            TransactionControlError: it would.
        """
        if sql.ENDING.match(statement):
            raise TransactionControlError(
                f"A raw {shorten(statement)!r} ends a transaction behind the back of SQLAlchemy and"
                " of the sandbox. Call commit() or rollback() of the session or the connection."
            )
        reason = sql.refusal(statement, parameters)
        if self.commits_itself and OF_TRANSACTION.match(statement):
            reason = "needs a transaction, and this connection is in autocommit mode"
        elif not self._has_savepoints and OF_SAVEPOINT.match(statement):
            reason = "needs a savepoint, and this transaction has none"
        if reason:
            raise TransactionControlError(f"{shorten(statement)!r} {reason}. {REAL_COMMITS}")

    def _hear(
        self, run: Callable[[], Any], statement: str, parameters: Any, *, is_read: bool
    ) -> Any:
        """Execute what a listener for "connect" says, unless the shared one has heard it already.

        Raises:
            TransactionControlError: the shared one has heard something else.
        """
        heard = self.sandbox.heard
        if parameters and not is_read:
            raise TransactionControlError(
                f"A listener for 'connect' says {shorten(statement)!r} with parameters, which the"
                " sandbox could not say again. Write them into the statement."
            )
        if is_read or self.is_first:
            heard |= {} if is_read else {statement: None}
            return self.sandbox.run(run)
        if statement not in heard and not self.ignores(statement):
            raise TransactionControlError(
                f"A listener for 'connect' says {shorten(statement)!r} to this connection, and did"
                f" not to the application's, which the sandbox shares. {REAL_COMMITS}"
            )
        return None

    @property
    def commits_itself(self) -> bool:
        """Whether each statement is a transaction of its own."""
        return self.is_autocommit and not self._has_begun

    @property
    def is_writing(self) -> bool:
        """Whether this is the transaction that has written."""
        return self.sandbox.writer is self

    def _fail(self) -> None:
        """Let a failed statement undo what it undoes on a server, and release its locks."""
        if self.commits_itself:
            self.sandbox.release(keeps=False)
        elif not self._has_savepoints:
            # With savepoints, it may return to one: the server knows that it is aborted till then.
            self._aborted = self.sandbox.run(partial(sql.aborted, self.shared))
            if self._aborted:
                self.sandbox.release(keeps=False)


class SandboxCursor:
    """A cursor that takes its turn on the shared connection; there it is made when it is used."""

    def __init__(self, connection: SandboxConnection) -> None:
        # Not by assignment, which goes to the real cursor.
        vars(self).update(_connection=connection, _made=None)

    @property
    def _cursor(self) -> Any:
        if self._made is None:
            vars(self).update(_made=self._connection.shared.cursor())
        return self._made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __enter__(self) -> SandboxCursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, if it has been used."""
        if self._made is not None:
            self._made.close()

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Execute `statement` as PEP 249 says."""
        return self._connection.run_statement(
            lambda: self._cursor.execute(statement, parameters), statement, parameters
        )

    def executemany(self, statement: str, parameters: Any) -> Any:
        """Execute `statement` for all `parameters`, as PEP 249 says."""
        return self._connection.run_statement(
            lambda: self._cursor.executemany(statement, parameters), statement, parameters
        )


def current_task() -> asyncio.Task[Any] | None:
    """Return the current task, or the one for which SQLAlchemy has started it.

    SQLAlchemy ends an `async with` in a task of its own, so that it is not cancelled half-way.
    """
    task = asyncio.current_task()
    code = getattr(task and task.get_coro(), "cr_code", None)
    if code and code.co_filename.startswith(SQLALCHEMY):
        return at_work.get(task)
    at_work.set(task)
    return task


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


def do_nothing() -> None:
    """Do nothing, in place of a statement that the sandbox has executed long ago."""


def blank(match: re.Match[str]) -> str:
    """Return what stands for a comment or a literal, in which nothing is code; or the name."""
    return match["name"] or ("''" if match["literal"] else " ")
