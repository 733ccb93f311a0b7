"""What a test sends to its database: its report shows that if it fails, and it can count it."""

import asyncio
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from reprlib import repr as shorten_repr
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, ExceptionContext, event

from ..database.thread import is_harness
from ..errors import HarnessError
from .guard import STATEMENT, GuardedConnection, describe, info_of, shorten
from .report import related
from .who import Who

SHOWN: Final = 20
"""How many of the last statements the report of a failed test shows."""
RUNNING: Final = "tests.harness: running statement"
"""Where a connection's `info` has the statement that it executes."""
UNFINISHED: Final = "not finished"


@dataclass
class Statement:
    """A statement, or the end of a transaction."""

    text: str
    who: str
    parameters: Any = None  # described only if the test fails
    result: str = ""
    started: float = 0  # on the clock of `time.perf_counter`; 0 for the end of a transaction

    def __str__(self) -> str:
        """Describe it in a line."""
        parameters = f" {shorten_repr(self.parameters)}" if self.parameters else ""
        text = f"{shorten(self.text)}{parameters}"
        return ", ".join(filter(None, (text, self.result, self.who)))


class Statements:
    """Counts what the test sends."""

    def __init__(self, entries: list[Statement]) -> None:
        """Count what is added to `entries`."""
        self._entries = entries

    @contextmanager
    def at_most(self, count: int) -> Iterator[list[str]]:
        """Fail the test if the block sends more than `count` statements; yield them, as sent.

        Commits and rollbacks are not counted. The failure shows how often each was sent.
        """
        __tracebackhide__ = True
        first = len(self._entries)
        texts: list[str] = []
        yield texts
        sent = [entry for entry in self._entries[first:] if entry.started]
        texts += [entry.text for entry in sent]
        if len(sent) > count:
            who = {entry.text: entry.who for entry in sent}
            lines = [
                f"{number} x {shorten(text)}, {who[text]}"
                for text, number in Counter(texts).most_common()
            ]
            pytest.fail("\n".join([f"Statements: {len(sent)} sent, {count} allowed:", *lines]))


class StatementLog:
    """Logs what a test sends by any engine. (A pytest plugin.)"""

    def __init__(self, who: Who, connections: Iterable[GuardedConnection]) -> None:
        """Log all engines.

        Args:
            who: knows who has sent a statement.
            connections: those that are open.
        """
        self._who = who
        self._connections = connections
        self.entries: list[Statement] = []
        event.listen(Engine, "before_cursor_execute", self._begin)
        event.listen(Engine, "after_cursor_execute", self._end)
        event.listen(Engine, "handle_error", self._fail)
        event.listen(Engine, "commit", lambda _: self._log_end("COMMIT"))
        event.listen(Engine, "rollback", lambda _: self._log_end("ROLLBACK"))

    def running(self) -> list[str]:
        """Describe the statements that run; and, if any does, what else is open."""
        now = time.perf_counter()
        running = [entry for entry in self.entries if entry.result == UNFINISHED]
        lines = [f"Running for {now - entry.started:.1f} s: {entry}" for entry in running]
        return lines + self._open() if lines else []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Forget the test before."""
        self.entries.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the last statements to the report of a failure; the harness's own errors name one."""
        report = yield
        errors = related(call.excinfo.value).values() if call.excinfo else ()
        if report.failed and self.entries and not any(isinstance(e, HarnessError) for e in errors):
            lines = [str(entry) for entry in self.entries[-SHOWN:]]
            if len(self.entries) > SHOWN:
                lines.insert(0, f"... {len(self.entries) - SHOWN} before")
            lines += self._open()
            report.sections.append(("Statements of the test", "\n".join(lines)))
        return report

    @pytest.fixture
    def statements(self) -> Statements:
        """Counts the statements of a block: `with statements.at_most(3): ...`."""
        return Statements(self.entries)

    def _open(self) -> list[str]:
        """Describe the transactions that are open and run no statement."""
        states = [connection.state for connection in self._connections]
        is_open = [s for s in states if STATEMENT in s.entry.info and RUNNING not in s.entry.info]
        return [f"Still open: {describe(state)}." for state in is_open]

    def _begin(self, connection: Connection, _: Any, text: str, parameters: Any, *__: Any) -> None:
        if not is_harness.get():
            is_hidden = parameters and connection.engine.hide_parameters
            shown = "(hidden)" if is_hidden else parameters
            entry = Statement(text, self._who.place, shown, UNFINISHED)
            entry.started = time.perf_counter()
            connection.info[RUNNING] = entry
            self.entries.append(entry)

    def _end(self, connection: Connection, cursor: Any, *_: Any) -> None:
        if entry := connection.info.pop(RUNNING, None):
            took = f"{(time.perf_counter() - entry.started) * 1000:.1f} ms"
            entry.result = f"{cursor.rowcount} rows, {took}" if cursor.rowcount >= 0 else took

    def _fail(self, context: ExceptionContext) -> None:
        error = context.original_exception
        ends = isinstance(error, Exception | asyncio.CancelledError)  # others interrupt the test
        connection = context.connection
        if ends and connection and (entry := info_of(connection).pop(RUNNING, None)):
            entry.result = f"failed: {type(error).__name__}"

    def _log_end(self, text: str) -> None:
        if not is_harness.get():
            self.entries.append(Statement(text, self._who.place))
