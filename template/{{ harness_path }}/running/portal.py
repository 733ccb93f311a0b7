"""Runs what a plain test asks for on the event loop of the test, where its connections work.

While a plain function runs, that loop is idle. Starlette's TestClient has a portal run what it
needs: usually one to a loop in another thread; here one that runs the loop of the test meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import HarnessError
from ..watch.tasks import HARNESS_TASK, retrieve
from ..watch.watch import Watch
from ..watch.who import running_loop
from .session import refuse_pending

if TYPE_CHECKING:
    from .sync_client import SyncClient


class Portal:
    """Calls functions on the loop of the test, which runs until they have returned.

    Other tasks go on meanwhile, such as those of the application, and stand still after it.
    """

    def __init__(self, watch: Watch) -> None:
        """Use the loop of the test that `watch` watches over."""
        self._watch = watch
        self._thread = threading.get_ident()
        self.interruption: BaseException | None = None
        """What has interrupted a call, by Ctrl-C or a timeout: nothing must run the loop again
        before `watch/interrupt.py` has ended what still runs there."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function`, await what it returns if that is possible, and return the result.

        Raises whatever `function` raises, and
            HarnessError: the loop runs already, or this is not the thread of the test.
        """
        loop = self._idle_loop()
        task = loop.create_task(run(function, args), name=HARNESS_TASK)  # the test waits for it
        task.add_done_callback(retrieve)
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            if not task.done() or isinstance(error, KeyboardInterrupt | SystemExit):
                self.interruption = error
            raise

    def start_task_soon(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a task of a coroutine function; return the future of its result.

        Who waits for that runs the loop: nobody else would.

        Raises:
            HarnessError: the loop runs already, or this is not the thread of the test.
        """
        loop = self._idle_loop()
        future = asyncio.run_coroutine_threadsafe(function(*args), loop)
        future._condition = LoopCondition(partial(self._finish, future))
        return future

    def start_task(self, function: Callable[..., Any], *args: Any) -> tuple[Future[Any], Any]:
        """Start a task, and wait until it calls `task_status.started(value)`.

        Returns the future of its result, and `value`. Raises what it has raised so far.
        """
        started = self._idle_loop().create_future()

        def start(value: Any = None) -> None:
            if not started.done():
                started.set_result(value)

        status = SimpleNamespace(started=start)
        future = self.start_task_soon(partial(function, task_status=status), *args)
        future.add_done_callback(lambda _: start())  # if it ends before that
        value = self.call(lambda: started)
        if future.done():
            future.result()
        return future, value

    def _finish(self, future: Future[Any], timeout: float | None = None) -> None:
        if not future.done():
            finished = self._idle_loop().create_future()
            future.add_done_callback(lambda _: finished.set_result(None))
            self.call(partial(asyncio.wait, [finished], timeout=timeout))

    def _idle_loop(self) -> asyncio.AbstractEventLoop:
        if self.interruption:
            raise self.interruption
        if running_loop() or threading.get_ident() != self._thread:
            raise HarnessError(
                "The fixture `test_client` is for a plain `def test_...`, whose event loop it runs."
                " Where a loop runs already, as in an `async def test_...`, write"
                " `await client.get(...)`, with the fixture `client`. Other threads cannot use it"
                " either: for requests at once, `asyncio.gather` those of `client`."
            )
        if not self._watch.loop:
            raise HarnessError("The fixture `test_client` is used after its test.")
        return self._watch.loop


class LoopCondition(threading.Condition):
    """What `concurrent.futures` waits by until a future is done: it runs the loop meanwhile."""

    def __init__(self, finish: Callable[..., None]) -> None:
        super().__init__()
        self._finish = finish
        acquire = self.acquire

        def finish_and_acquire(blocking: bool = True, timeout: float = -1) -> bool:
            finish()
            return acquire(blocking, timeout)

        self.acquire = finish_and_acquire  # type: ignore[method-assign]  # called by wait([future])

    def wait(self, timeout: float | None = None) -> bool:
        """Finish the future, in so many seconds; called by its `result` and `exception`."""
        self._finish(timeout)
        return True


async def run(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call `function`, await what it returns if that is possible, and return the result."""
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


@pytest.fixture
def test_client(
    app: FastAPI, harness_watch: Watch, harness_sessions: list[AsyncSession]
) -> Iterator[SyncClient]:
    """Starlette's TestClient for a plain `def test_...`; the application is running already.

    `test_client.portal.call(session.commit)` runs a coroutine on the same loop.
    """
    from .sync_client import SyncClient  # late: few need it, and old versions need httpx for it

    def check(_: httpx2.Request) -> None:
        for session in harness_sessions:
            refuse_pending(session)

    portal = Portal(harness_watch)
    client = SyncClient(app, portal)
    client.event_hooks = {"request": [check]}
    yield client
    portal.interruption = None  # what ran then has ended
    client.close()
