"""Threads of the harness, whose event loops are separate from those of tests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

is_harness: ContextVar[bool] = ContextVar("is_harness", default=False)
"""True where the harness itself is at work, which may connect outside tests, too."""


def new_executor() -> ThreadPoolExecutor:
    """Return an executor with one thread, which belongs to the harness."""
    return ThreadPoolExecutor(max_workers=1, initializer=is_harness.set, initargs=(True,))


def outside_loops(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` in a thread where no event loop runs.

    Raises whatever `function` raises.
    """
    with new_executor() as executor:
        return executor.submit(function, *args).result()
