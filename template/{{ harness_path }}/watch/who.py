"""Who is at work: which test, which fixture, and where in this project's code."""

import asyncio
import inspect
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType
from typing import Any, Final
from unittest import TestCase

import greenlet
import pytest

from ..application import ROOT
from .runner import DEBUG

__tracebackhide__ = True  # reports of pytest show none of these frames

HARNESS: Final = Path(__file__).parents[1]
CONTRACT: Final = HARNESS / "contract"


class Who:
    """Knows who is at work. (A pytest plugin.)"""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._fixtures: list[pytest.FixtureDef[Any]] = []  # that are being set up
        self.is_sync_test = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Know whether the test is a plain function, or unittest's: it has loops of its own."""
        is_async = inspect.iscoroutinefunction(getattr(item, "obj", None))
        is_of_unittest = issubclass(getattr(item, "cls", None) or object, TestCase)
        self.is_sync_test = not is_async or is_of_unittest

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        """Know which fixture is being set up."""
        self._fixtures.append(fixturedef)
        try:
            return (yield)
        finally:
            self._fixtures.pop()

    @property
    def fixture(self) -> pytest.FixtureDef[Any] | None:
        """The fixture that is being set up."""
        return self._fixtures[-1] if self._fixtures else None

    @property
    def is_wide_fixture(self) -> bool:
        """Whether it is a fixture that outlives its test."""
        return any(fixture.scope != "function" for fixture in self._fixtures)

    @property
    def test(self) -> str:
        """The test, and its phase."""
        return os.environ.get("PYTEST_CURRENT_TEST", "an import")

    def __str__(self) -> str:
        """Return the test, the fixture, and the line of this project."""
        who = self.test
        if self.fixture:
            who = f"the fixture {self.fixture.argname!r} for {who}"
        return f"{who}, {place}" if (place := self.place) else who

    @property
    def place(self) -> str:
        """The function of this project that is at work, and its line; empty if none is."""
        own = (frame for frame in stack() if is_project_code(frame.f_code.co_filename))
        frame = next(own, None)
        return f"{frame.f_code.co_qualname} at {position(frame)}" if frame else ""

    def describe(self, task: asyncio.Task[Any]) -> str:
        """Return what `task` runs, and where in this project's code it waits, or was started."""
        waits = [frame for frame in frames_of(task) if is_project_code(frame.f_code.co_filename)]
        if waits:
            return f"{task_name(task)} at {position(waits[0])}"
        started = getattr(task, "_source_traceback", None) or []  # in asyncio's debug mode
        own = [each for each in started if is_project_code(each.filename)]
        if own:
            file = own[-1].filename.removeprefix(f"{ROOT}{os.sep}")
            return f"{task_name(task)}, started at {file}:{own[-1].lineno}"
        return f"{task_name(task)} ({DEBUG} tells who has started it)"

    def catcher(self, error: BaseException) -> str | None:
        """Return who has caught `error`, if that was before a test, a fixture or pytest saw it.

        SQLAlchemy may have: it raises another one then.
        """
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        if not frames or is_of(frames[0], "sqlalchemy") or any(map(is_test_code, frames)):
            return None
        return f"{frames[0].f_code.co_qualname} at {position(frames[0])}"


@cache
def is_project_code(file: str) -> bool:
    """Tell whether `file` is the project's, or of the contract's tests: not installed, not ours."""
    path = Path(file)
    if path.is_relative_to(HARNESS):
        return path.is_relative_to(CONTRACT)
    is_installed = "site-packages" in path.parts or path.is_relative_to(sys.prefix)
    return path.is_relative_to(ROOT) and not is_installed


def is_test_code(frame: FrameType) -> bool:
    """Tell whether `frame` is of a test, of a fixture, or of pytest, which reports errors."""
    file = frame.f_code.co_filename
    is_test = is_project_code(file) and Path(file).is_relative_to(HARNESS.parent)
    return is_test or is_of(frame, "_pytest")


def is_of(frame: FrameType, package: str) -> bool:
    """Tell whether `frame` is of a module in `package`."""
    return f"{frame.f_globals.get('__name__')}.".startswith(f"{package}.")


def position(frame: FrameType) -> str:
    """Return file and line of `frame`; quickly, since every checkout asks for it."""
    return f"{frame.f_code.co_filename.removeprefix(f'{ROOT}{os.sep}')}:{frame.f_lineno}"


def task_name(task: asyncio.Task[Any]) -> str:
    """Return the name of what `task` runs."""
    return getattr(task.get_coro(), "__qualname__", repr(task))


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def frames_of(task: asyncio.Task[Any]) -> list[FrameType]:
    """Return the frames where `task` waits, the innermost first."""
    frames = list[FrameType]()
    coroutine: Any = task.get_coro()
    while frame := getattr(coroutine, "cr_frame", None):
        frames.insert(0, frame)
        coroutine = coroutine.cr_await
    return frames


def frames_of_other_threads() -> set[FrameType]:
    """Return the frames of this project's code that are at work in other threads."""
    current = threading.get_ident()
    threads = [frame for thread, frame in sys._current_frames().items() if thread != current]
    frames = (frame for innermost in threads for frame, _ in walk_stack(innermost))
    return {frame for frame in frames if is_project_code(frame.f_code.co_filename)}


def stack() -> Iterator[FrameType]:
    """Return the frames that wait for the current one, but for those in SQLAlchemy's greenlet."""
    parent = greenlet.getcurrent().parent
    frame = parent.gr_frame if parent else inspect.currentframe()
    while frame:
        yield frame
        frame = frame.f_back
    if running_loop() and (waiting := task_in_block()):
        yield from frames_of(waiting)


def task_in_block() -> asyncio.Task[Any] | None:
    """Return the task that leaves a block of `async with`, if the current one does so for it.

    SQLAlchemy ends blocks in tasks of its own, for which those of the blocks wait.
    """
    current = asyncio.current_task()
    for task in asyncio.all_tasks() if current else ():
        waits = frames_of(task)
        innermost = waits[0].f_locals.values() if waits and is_of(waits[0], "sqlalchemy") else ()
        if any(value is current for value in innermost):
            return task
    return None
