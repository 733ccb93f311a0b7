"""Says what runs when pytest-timeout or Ctrl-C interrupts a test, and ends it."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from traceback import walk_tb
from typing import Any, Final

import pytest

from ..database.lifecycle import Database
from .guard import shorten
from .log import StatementLog
from .tasks import cancel, retrieve, still_running
from .watch import Watch

__tracebackhide__ = True  # reports of pytest show none of these frames

STATEMENT_CANCEL_TIMEOUT: Final = 1
"""Seconds that tasks may take to end once their statements are cancelled."""


class Interrupt:
    """Ends the tasks of a test that is interrupted from outside of them. (A pytest plugin.)

    They would go on while fixtures end, and these would wait for the tasks' statements.
    """

    def __init__(self, database: Database, watch: Watch, log: StatementLog) -> None:
        """End what runs on `database`, as `log` knows, when the test of `watch` is interrupted."""
        self._database = database
        self._watch = watch
        self._log = log
        self._timer = threading.Timer(0, self._print)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Say what runs at Ctrl-C, before runners cancel it; they leave a handler as it is."""
        self._capture = config.pluginmanager.getplugin("capturemanager")
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_ctrl_c)
            config.add_cleanup(restore)

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(self, settings: Any) -> None:
        """Say what runs a second before the method `thread` ends the process."""
        if settings.method == "thread":
            seconds = max(settings.timeout - 1, settings.timeout / 2)
            self._timer = threading.Timer(seconds, self._print)
            self._timer.daemon = True
            self._timer.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_cancel_timer(self) -> None:
        """The test has ended in time."""
        self._timer.cancel()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """End what is set up when somebody interrupts the loop."""
        return (yield from self._end_interrupted())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """End the test when somebody interrupts the loop."""
        if loop := self._watch.loop:
            self._watch.tasks_before_phase = asyncio.all_tasks(loop)
        return (yield from self._end_interrupted())

    def _end_interrupted(self) -> Iterator[None]:
        try:
            return (yield)
        except BaseException as error:
            if isinstance(error, pytest.fail.Exception):
                self._note(error)
            places = [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]
            if (loop := self._watch.loop) and "run_forever" in places:
                loop.run_until_complete(self._end_unfinished())
            raise

    def _on_ctrl_c(self, *_: object) -> None:
        restore()  # for a second one, which need not wait for what the first asks
        error = KeyboardInterrupt()
        self._note(error)
        raise error

    def _note(self, error: BaseException) -> None:
        for line in self._describe():
            error.add_note(line)

    def _print(self) -> None:
        """Print past pytest's capture: what that has is lost with a process of pytest-xdist."""
        for line in self._describe():
            with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
                print(f"\n{line}", file=sys.stderr)  # noqa: T201

    def _describe(self) -> Iterator[str]:
        """Describe the statements that run; if any does, also what they wait for."""
        if running := self._log.running():
            yield from running
            waits = self._database.server.lock_waits(self._database.name)
            for text, lock, *holders in [*self._watch.waits(), *waits]:
                held = [f", held after {shorten(holder)!r}" for holder in holders]
                yield f"{shorten(text)!r} waits for a lock: {lock}{''.join(held)}"

    async def _end_unfinished(self) -> None:
        """Cancel all statements, then those tasks of this set-up or call that go on."""
        tasks = asyncio.all_tasks() - self._watch.tasks_before_phase - {asyncio.current_task()}
        self._database.server.cancel_statements(self._database.name)
        for task in tasks:
            task.add_done_callback(retrieve)
        await cancel(await still_running(tasks, after=STATEMENT_CANCEL_TIMEOUT))


def restore() -> None:
    """Let Ctrl-C do what Python lets it do."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
