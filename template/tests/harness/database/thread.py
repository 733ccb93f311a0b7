"""Threads of the harness's own: it needs event loops of its own, apart from those of tests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

is_harness: ContextVar[bool] = ContextVar("is_harness", default=False)
"""Whether the harness itself is at work, which connects whenever it likes."""


def new_thread() -> ThreadPoolExecutor:
    """Start a thread of the harness's."""
    return ThreadPoolExecutor(max_workers=1, initializer=is_harness.set, initargs=(True,))


def outside_loops(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` in a thread where no event loop runs.

    Raises whatever `function` raises.
    """
    with new_thread() as thread:
        return thread.submit(function, *args).result()
