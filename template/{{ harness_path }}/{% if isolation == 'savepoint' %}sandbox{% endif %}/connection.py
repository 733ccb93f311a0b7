"""The proxies that pools hold in place of DBAPI connections."""

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
from ..watch.tasks import other_tasks
from . import statements

if TYPE_CHECKING:
    from .sandbox import Sandbox

ADVICE: Final = (
    "Mark the test with @pytest.mark.real_commits. (With isolation=reset, no test would need it.)"
)

SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)
last_task: ContextVar[asyncio.Task[Any] | None] = ContextVar("last_task", default=None)
"""The task that last used the sandbox in this context, which the tasks that it starts inherit."""

SAVEPOINT: Final = re.compile(r"SAVEPOINT\b", re.IGNORECASE)
NEEDS_TRANSACTION: Final = re.compile(r"(SAVEPOINT|RELEASE|ROLLBACK|LOCK)\b", re.IGNORECASE)
NEEDS_SAVEPOINT: Final = re.compile(r"(RELEASE|ROLLBACK)\b", re.IGNORECASE)


class SandboxConnection:
    """A proxy of the shared connection, for one transaction at a time in the sandbox.

    It has the methods of PEP 249; `DriverProxy` has those that the dialect calls beyond.
    """

    def __init__(self, sandbox: Sandbox, *, is_first: bool) -> None:
        self.sandbox = sandbox
        self.shared = sandbox.shared
        self.is_first = is_first
        self.is_set_up = False  # by listeners for "connect"
        self.is_checked_out = False
        self.is_autocommit = False  # each statement is a transaction
        self._task: asyncio.Task[Any] | None = None
        self.statement = ""
        self.has_failed = False  # one of its statements, so it may be aborted
        self._has_savepoints = False
        self._abort_error: Exception | None = None  # raised for each statement until it ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shared, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The shared connection's class: listeners check the type of what they are given."""
        return type(self.shared)

    @property
    def _connection(self) -> Any:
        """The driver's own connection, which would bypass the sandbox.

        Raises:
            TransactionControlError: this connection is set up already.
        """
        if self.is_set_up and not is_disconnect_check():
            self._refuse_driver()
        return self.shared._connection

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection, by its public name."""
        return self._connection

    def run_async(self, function: Callable[[Any], Any]) -> Any:
        """Call `function` with the driver's own connection, as listeners for "connect" do.

        For the shared connection, the first call is enough.

        Raises:
            TransactionControlError: this connection is set up already.
        """
        if self.is_set_up:
            self._refuse_driver()
        return self.shared.run_async(function) if self.is_first else None

    def _refuse_driver(self) -> None:
        raise TransactionControlError(
            "The driver's own connection works past the sandbox, which could neither follow nor"
            f" undo what it does. {ADVICE}"
        )

    def cursor(self, *_: Any, **__: Any) -> SandboxCursor:
        """Return a cursor. It is never a server-side one, which another transaction's rollback
        would close: a streamed result is read at once and handed out from memory."""
        return SandboxCursor(self)

    def execute(self, statement: str, parameters: Any = None) -> SandboxCursor:
        """Execute `statement` by a new cursor; many drivers have this extension of PEP 249."""
        cursor = self.cursor()
        cursor.execute(statement, parameters)
        return cursor

    def commit(self) -> None:
        """Keep what the transaction has written until the test ends, unless it is aborted."""
        self.end_transaction(keeps=True)

    def rollback(self) -> None:
        """Undo what the transaction has written."""
        self.end_transaction(keeps=False)

    def close(self) -> None:
        """Undo what the transaction has written; the shared connection stays open."""
        self.rollback()

    terminate = close

    def ignores(self, statement: str) -> bool:
        """Tell whether `statement` comes from the dialect and has no effect in the sandbox."""
        return False

    def refuse_endless_wait(self) -> None:
        """Refuse to wait for this transaction if no other task will end it.

        That is so if the current task has used it last; or if the task that did has ended, like
        one that ran a fixture, and no other task runs that could end it.

        Raises:
            CommitFirstError: no other task will end this transaction.
        """
        task = note_task()
        if self._task in (None, task) or (self._task.done() and not other_tasks()):
            raise CommitFirstError(
                "Commit first: this statement waits for a transaction that its own task has left"
                " open, and the sandbox shows one at a time. In production nobody would see what"
                " is not committed. Where two at once are meant, mark the test with"
                f" @pytest.mark.real_commits. The last statement of that one: {self.statement}"
            )

    def end_transaction(self, *, keeps: bool) -> None:
        """End the transaction; one that has only read has nothing to end on the server."""
        try:
            if self.is_writing:
                with self.sandbox.turn(self, "", is_read=False):
                    is_aborted = self.has_failed and self._find_abort_error()
                    self.sandbox.end_writer(keeps=keeps and not is_aborted)
        finally:
            self.has_failed = self._has_savepoints = False
            self._abort_error = None

    def _find_abort_error(self) -> Exception | None:
        error: Exception | None = self.sandbox.call(partial(statements.abort_error, self.shared))
        return error

    def run_statement(self, run: Callable[[], Any], statement: str, parameters: Any) -> Any:
        """Execute `statement` by calling `run`: in turn, with the effects that it has on a server.

        Raises:
            CommitFirstError: it has to wait for a transaction that does not end.
            TransactionControlError: the sandbox cannot show its effects.
        """
        text = statements.NOT_CODE.sub(blank_out, statement).lstrip("( \t\r\n")
        parts = [part.lstrip("( \t\r\n") for part in text.split(";") if part.strip()] or [""]
        is_read = all(map(statements.READ.match, parts))
        if not self.is_set_up:
            return self._run_setup_statement(run, statement, parameters, is_read=is_read)
        if self.ignores(text):
            return None
        self._refuse(parts, parameters)
        if self._abort_error:
            raise self._abort_error
        return self._run_in_turn(run, parts, is_read=is_read)

    def _run_in_turn(self, run: Callable[[], Any], parts: list[str], *, is_read: bool) -> Any:
        """Execute one or several statements, the `parts`, by calling `run` when nobody else writes.

        With `is_read`, they only read, unless they call a function that writes.
        """
        text = ";".join(parts)
        with self.sandbox.turn(self, text, is_read=is_read) as writes:
            self._task, self.statement = note_task(), shorten(text)
            self._has_savepoints |= any(map(SAVEPOINT.match, parts))
            try:
                result = self.sandbox.call(run)
            except Exception:
                self.has_failed = True
                self._fail()
                raise
            if is_read and writes:  # by a function, which may change settings, too
                self.sandbox.note_change(of_schema=False)
            elif writes and not all(map(statements.UNDOABLE.match, parts)):
                self.sandbox.note_change(of_schema=True)
            if writes and (self.is_autocommit or not self.is_checked_out):
                self.sandbox.end_writer(keeps=True)
            return result

    def _refuse(self, parts: list[str], parameters: Any) -> None:
        """Refuse statements that control transactions, or have other effects in the sandbox.

        Raises:
            TransactionControlError: the sandbox cannot show the effects of one of them.
        """
        has_savepoints = self._has_savepoints
        for statement in parts:
            if statements.RAW_CONTROL.match(statement):
                raise TransactionControlError(
                    f"A raw {shorten(statement)!r} begins or ends a transaction, which neither"
                    " SQLAlchemy nor the sandbox would notice. Call commit() or rollback() of the"
                    " session or connection."
                )
            reason = statements.refusal(statement, parameters)
            if self.is_autocommit and NEEDS_TRANSACTION.match(statement):
                reason = "needs a transaction, and this connection is in autocommit mode"
            elif not has_savepoints and NEEDS_SAVEPOINT.match(statement):
                reason = "needs a savepoint, and this transaction has none"
            if reason:
                raise TransactionControlError(f"{shorten(statement)!r} {reason}. {ADVICE}")
            has_savepoints |= bool(SAVEPOINT.match(statement))

    def _run_setup_statement(
        self, run: Callable[[], Any], statement: str, parameters: Any, *, is_read: bool
    ) -> Any:
        """Execute the statement of a listener for "connect", unless the first connection has.

        Raises:
            TransactionControlError: the first connection has executed others.
        """
        executed = self.sandbox.setup_statements
        if parameters and not is_read:
            raise TransactionControlError(
                f"A listener for 'connect' executes {shorten(statement)!r} with parameters, which"
                " the sandbox could not execute again. Write them into the statement."
            )
        if self.is_first:  # and so nobody else uses the shared connection yet
            executed |= {} if is_read else {statement: None}
            return self.sandbox.call(run)
        if is_read:
            return self._run_in_turn(run, [statement], is_read=True)
        if statement not in executed and not self.ignores(statement):
            raise TransactionControlError(
                f"A listener for 'connect' executes {shorten(statement)!r} on this connection, and"
                f" did not on the application's, which the sandbox shares. {ADVICE}"
            )
        return None

    @property
    def is_writing(self) -> bool:
        """True if this transaction is the writer, for which others wait."""
        return self.sandbox.writer is self

    def _fail(self) -> None:
        """Undo what the failure of a statement undoes on a server, and let others write."""
        if self.is_autocommit:
            self.sandbox.end_writer(keeps=False)
        elif not self._has_savepoints:
            # With savepoints, it may return to one; until then the server refuses its statements.
            self._abort_error = self._find_abort_error()
            if self._abort_error:
                self.sandbox.end_writer(keeps=False)


class SandboxCursor:
    """A proxy of a cursor of the shared connection, which is created when it is first used."""

    def __init__(self, connection: SandboxConnection) -> None:
        # Not by assignment: `__setattr__` assigns to the real cursor.
        vars(self).update(_connection=connection, _real=None)

    @property
    def _cursor(self) -> Any:
        if self._real is None:
            vars(self).update(_real=self._connection.shared.cursor())
        return self._real

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
        """Close the cursor, if it has been used."""
        if self._real is not None:
            self._real.close()

    def execute(self, statement: str, parameters: Any = None) -> Any:
        """Execute `statement`, as in PEP 249."""
        return self._connection.run_statement(
            lambda: self._cursor.execute(statement, parameters), statement, parameters
        )

    def executemany(self, statement: str, parameters: Any) -> Any:
        """Execute `statement` for all `parameters`, as in PEP 249."""
        return self._connection.run_statement(
            lambda: self._cursor.executemany(statement, parameters), statement, parameters
        )


@event.listens_for(Pool, "checkout")
def check_out(guard: Any, *_: object) -> None:
    """Note that a proxy is set up and checked out.

    Raises:
        sqlalchemy.exc.DisconnectionError: the sandbox has replaced the shared connection.
    """
    if isinstance(guard, GuardedConnection) and isinstance(guard.guarded, SandboxConnection):
        connection = guard.guarded
        if connection.shared is not connection.sandbox.shared:
            raise DisconnectionError("the sandbox has replaced its connection")
        connection.is_set_up = connection.is_checked_out = True


@event.listens_for(Pool, "checkin")
def check_in(guard: Any, *_: object) -> None:
    """Note that a proxy is back in its pool."""
    if isinstance(guard, GuardedConnection) and isinstance(guard.guarded, SandboxConnection):
        guard.guarded.is_checked_out = False


def note_task() -> asyncio.Task[Any] | None:
    """Note, and return, the task that uses the sandbox; for one of SQLAlchemy's, who started it."""
    task = asyncio.current_task()
    if is_sqlalchemy_task(task):
        return last_task.get(task)
    last_task.set(task)
    return task


def is_sqlalchemy_task(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether SQLAlchemy has started `task`, by the file of its code: it has no other mark.

    SQLAlchemy leaves an `async with` in such a task, so that a cancellation does not interrupt it.
    """
    code = getattr(task and task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(SQLALCHEMY)


def is_disconnect_check() -> bool:
    """Tell whether SQLAlchemy checks if an error comes from a lost connection.

    Its dialects read the driver's connection for that, and only the call stack shows why.
    """
    callers = (frame.f_code.co_name for frame, _ in islice(walk_stack(None), 6))
    return "is_disconnect" in callers


def blank_out(match: re.Match[str]) -> str:
    """Return the replacement of a comment or a literal, which are not code; a name as it is."""
    return match["name"] or ("''" if match["literal"] else " ")
