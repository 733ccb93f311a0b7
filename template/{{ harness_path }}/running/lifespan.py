"""Starts the application and shuts it down, as servers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from ..errors import HarnessError
from ..watch.tasks import HARNESS_TASK

SHUTDOWN_TIMEOUT: Final = 30
"""Seconds to shut down."""


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Start `app` and shut it down by the lifespan protocol of ASGI, in one task, as servers do.

    So its middleware is told, its requests have the state of its lifespan, and what a lifespan
    opens it may have to close in the same task (a fixture has two): a group of tasks, for example.

    Raises:
        HarnessError: it refuses to start or to shut down without an error, or does not end.
    """
    state: dict[str, Any] = {}
    to_app, from_app = asyncio.Queue[Message](), asyncio.Queue[Message]()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.create_task(app(scope, to_app.get, from_app.put), name=HARNESS_TASK)
    finished: Message = {"type": "finished"}  # so that nobody waits for an application that is gone
    task.add_done_callback(lambda _: from_app.put_nowait(finished))

    async def tell(message: str, limit: float | None = None) -> None:
        to_app.put_nowait({"type": message})
        try:
            answer = await asyncio.wait_for(from_app.get(), limit)
        except TimeoutError:
            task.cancel()
            raise HarnessError(
                f"The application has not shut down within {limit} seconds: what its lifespan does"
                " after `yield` does not end. Does it wait for a task that goes on?"
            ) from None
        if answer["type"] == f"{message}.failed" or answer is finished:
            await task  # which raises what has failed
        if answer["type"] == f"{message}.failed":
            raise HarnessError(f"The application says {message}.failed: {answer.get('message')}")

    try:
        await tell("lifespan.startup")
    except BaseException:
        task.cancel()  # it runs on if this was cancelled
        raise
    middleware = app.middleware_stack or app.build_middleware_stack()

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = state | scope.get("state", {})
        await middleware(scope, receive, send)

    app.middleware_stack = with_state  # so the requests of any client have it
    try:
        yield
    finally:
        app.middleware_stack = middleware
        if not task.done():  # done already: the application has no lifespan
            await tell("lifespan.shutdown", SHUTDOWN_TIMEOUT)
        await task
