"""The tasks of tests, and the harness's own, which no test has left behind."""

import asyncio
from asyncio import _unregister_task
from collections.abc import Coroutine
from typing import Any, Final

from .runner import runner_tasks

HARNESS_TASK: Final = "tests.harness"
CANCEL_TIMEOUT: Final = 5
"""Seconds that a task may take to end once it is cancelled."""


def create_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task of the harness's; nobody need wait for it.

    Not by the loop's factory: an eager task would begin inside the greenlet that starts it.
    """
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=HARNESS_TASK)
    task.add_done_callback(retrieve)
    return task


def other_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """Return all tasks but the current one, the test runner's, and the harness's.

    They are those of the running loop, or of `loop`.
    """
    loop = loop or asyncio.get_running_loop()
    tasks = asyncio.all_tasks(loop) - runner_tasks(loop)
    return {task for task in tasks if task.get_name() != HARNESS_TASK}


async def still_running(tasks: set[asyncio.Task[Any]], after: float) -> set[asyncio.Task[Any]]:
    """Wait for `tasks`; return those that still run after so many seconds."""
    return (await asyncio.wait(tasks, timeout=after))[1] if tasks else set()


async def cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, and wait until they have ended.

    One that goes on is forgotten, since whoever closes the loop would wait for it for ever.
    https://docs.python.org/3/library/asyncio-extending.html#task-lifetime-support
    """
    for task in tasks:
        task.cancel()
    for task in await still_running(tasks, after=CANCEL_TIMEOUT):
        _unregister_task(task)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that nobody may wait for any more: asyncio would report it."""
    if not future.cancelled():
        future.exception()
