"""The harness's own tasks, which no test has left behind."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

HARNESS_TASK: Final = "tests.harness"


def create_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task of the harness's; nobody need wait for it.

    Not by the loop's factory: an eager task would begin inside the greenlet that starts it.
    """
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=HARNESS_TASK)
    task.add_done_callback(retrieve)
    return task


def is_harness_task(task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` is the harness's."""
    return task.get_name() == HARNESS_TASK


def retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that nobody may wait for any more: asyncio would report it."""
    if not future.cancelled():
        future.exception()
