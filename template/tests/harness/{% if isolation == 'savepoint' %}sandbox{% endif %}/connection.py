"""What pools hold in place of a DBAPI connection: one transaction at a time in the sandbox."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from itertools import islice
from pathlib import Path
from traceback import walk_stack
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

from ..errors import CommitFirstError, TransactionControlError
from ..watch.guard import GuardedConnection, shorten
from ..watch.runner import runner_tasks
from ..watch.tasks import is_harness_task
from . import dialect as sql
from .driver import DriverConnection

if TYPE_CHECKING:
    from .sandbox import Sandbox

REAL_COMMITS: Final = "Mark the test with @pytest.mark.real_commits."

SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)
at_work: ContextVar[asyncio.Task[Any] | None] = ContextVar("at_work", default=None)
"""The task that has used the sandbox last; the tasks that it starts inherit it."""

PLAIN: Final = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|SELECT|SHOW|SAVEPOINT|RELEASE|ROLLBACK|SET\s+LOCAL)\b",
    re.IGNORECASE,
)
"""A statement whose effects a rollback undoes, to the last temporary table and cached type."""
OF_TRANSACTION: Final = re.compile(r"(SAVEPOINT|RELEASE|ROLLBACK|LOCK)\b", re.IGNORECASE)
OF_SAVEPOINT: Final = re.compile(r"(RELEASE|ROLLBACK)\b", re.IGNORECASE)


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
        others = [other for other in running if not is_harness_task(other)]
        if self._task in (None, task) or (self._task.done() and not others):
            raise CommitFirstError(
                "Commit first: this statement waits for a transaction that its own task has left"
                " open, and the sandbox shows one at a time. In production nobody would see what"
                " is not committed. Where two at once are meant, mark the test with"
                f" @pytest.mark.real_commits. The last statement of that one: {self.statement}"
            )

    def _end(self, *, keeps: bool) -> None:
        try:
            self.sandbox.end_transaction_of(self, keeps=keeps)
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
            return self._set_up(run, statement, parameters, is_read=is_plain_read)
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
                self.sandbox.session_changed = True
                self.sandbox.writers = None  # it may have created functions
            elif is_plain_read and writes:  # by a function, which may set variables, too
                self.sandbox.session_changed = True
            if writes and (self.commits_itself or not self.is_checked_out):
                self.sandbox.finish_transaction(keeps=True)
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

    def _set_up(
        self, run: Callable[[], Any], statement: str, parameters: Any, *, is_read: bool
    ) -> Any:
        """Execute a statement of a listener for "connect", unless the shared one has had it.

        Raises:
            TransactionControlError: that one has had another.
        """
        repeated = self.sandbox.setup_statements
        if parameters and not is_read:
            raise TransactionControlError(
                f"A listener for 'connect' executes {shorten(statement)!r} with parameters, which"
                " the sandbox cannot repeat. Write the values into the statement."
            )
        if is_read or self.is_first:
            if not is_read:
                repeated[statement] = None
            return self.sandbox.run(run)
        if statement not in repeated and not self.ignores(statement):
            raise TransactionControlError(
                f"A listener for 'connect' executes {shorten(statement)!r} on this connection, and"
                f" did not on the application's, which the sandbox shares. {REAL_COMMITS}"
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
            self.sandbox.finish_transaction(keeps=False)
        elif not self._has_savepoints:
            # With savepoints, it may return to one: the server knows that it is aborted till then.
            self._aborted = self.sandbox.run(partial(sql.aborted, self.shared))
            if self._aborted:
                self.sandbox.finish_transaction(keeps=False)


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


@event.listens_for(Pool, "checkout")
def check_out(guard: Any, *_: object) -> None:
    """Know that a pool has set up a sandbox's connection, and hands it out.

    Raises:
        sqlalchemy.exc.DisconnectionError: the shared connection is another one by now.
    """
    if isinstance(guard, GuardedConnection) and isinstance(guard.guarded, SandboxConnection):
        connection = guard.guarded
        if connection.shared is not connection.sandbox.shared:
            raise DisconnectionError("the sandbox has another connection by now")
        connection.is_set_up = connection.is_checked_out = True


@event.listens_for(Pool, "checkin")
def check_in(guard: Any, *_: object) -> None:
    """Know that a pool has a sandbox's connection back."""
    if isinstance(guard, GuardedConnection) and isinstance(guard.guarded, SandboxConnection):
        guard.guarded.is_checked_out = False


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


def do_nothing() -> None:
    """Do nothing, in place of a statement that the sandbox has executed long ago."""


def blank(match: re.Match[str]) -> str:
    """Return what stands for a comment or a literal, in which nothing is code; or the name."""
    return match["name"] or ("''" if match["literal"] else " ")
