"""Shows an error of the harness on one screen: your lines that lead to it, then what it says.

Otherwise the message would stand below sixty lines of SQLAlchemy's and the harness's own frames,
which explain nothing. `-vv`, `--tb=long` and `--full-trace` show them, and a debugger has them.
"""

import inspect
from collections.abc import Generator
from traceback import walk_tb
from typing import Any

import pytest

from ..errors import HarnessError
from .guard import COMMIT_FIRST
from .who import is_project_code


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report what the application says if it ends when it is imported, as a setting is missing."""
    try:
        return (yield)
    except SystemExit as error:
        return pytest.CollectReport(collector.nodeid, "failed", longrepr=str(error), result=[])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shorten the report of an error that the harness has raised or caused, not the error."""
    if call.excinfo:
        close_unawaited(call.excinfo.value)
    report = yield
    option = item.config.getoption
    is_short = option("tbstyle", "auto") in ("auto", "short") and not option("fulltrace", False)
    shortens = report.failed and is_short and item.config.get_verbosity() < 2
    reported = related(call.excinfo.value) if call.excinfo else {}
    errors = [error for error in reported.values() if is_of_harness(error)]
    if errors:
        HarnessError.raised.clear()  # the test has failed: others need no error at its end
    if not call.excinfo or not shortens:
        return report
    causes = {number for error in errors for number in related(error)}

    def shown(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        frames = excinfo.traceback.filter(excinfo)
        own = frames.filter(lambda frame: is_project_code(str(frame.path)))
        comes_of_harness = not related(excinfo.value).keys().isdisjoint(map(id, errors))
        if comes_of_harness or id(excinfo.value) in causes:
            return own
        # Another error, in a group with one of the harness.
        return frames[frames.index(own[0]) :] if own else frames

    if errors:
        are_several = len(reported) > len(errors) or len({*map(str, errors)}) > 1
        shortened: Any = call.excinfo.getrepr(
            option("showlocals", False), style="short", tbfilter=shown, chain=are_several
        )
        for traceback, _, _ in shortened.chain:
            traceback.extraline = None  # that frames are hidden
        report.longrepr = shortened
    return report


def is_of_harness(error: BaseException) -> bool:
    """Tell whether the harness has raised `error`, or explains it."""
    notes = getattr(error, "__notes__", ())
    return isinstance(error, HarnessError) or any(note.startswith(COMMIT_FIRST) for note in notes)


def close_unawaited(error: BaseException) -> None:
    """Close coroutines that were called before `error` and not awaited, and say so.

    Otherwise Python would warn of each when it is garbage-collected, in another test.
    """
    for frame, _ in walk_tb(error.__traceback__):
        for value in [*frame.f_locals.values()]:
            if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == "CORO_CREATED":
                error.add_note(f"{value.__qualname__} was called without `await`.")
                value.close()


def related(error: BaseException) -> dict[int, BaseException]:
    """Return, by their ids, `error` and all that is reported with it: its causes, its members."""
    found, left = dict[int, BaseException](), [error]
    while left:  # they may lead back to each other
        error = left.pop()
        if id(error) not in found:
            found[id(error)] = error
            context = None if error.__suppress_context__ else error.__context__
            members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
            left += [e for e in (error.__cause__, context, *members) if e is not None]
    return found
