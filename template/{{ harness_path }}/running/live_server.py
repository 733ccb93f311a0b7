"""Serves the application on a port of this machine, to browsers and other processes."""

import asyncio
import inspect
import selectors
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..errors import HarnessError
from ..watch.runner import async_fixture
from ..watch.tasks import still_running
from ..watch.watch import TASK_END_TIMEOUT

BLOCKED_TIMEOUT: Final = 5
"""Seconds that a client of the server waits while the test blocks the event loop."""
AWAIT: Final = (
    "Await what calls it, in an `async def`: asyncio.create_subprocess_exec() instead of"
    " subprocess.run(), Playwright's async API, `await asyncio.to_thread(...)` for what blocks."
)


class LiveServer:
    """Serves an application with uvicorn, on the test's loop: requests are tasks of the test."""

    def __init__(self, app: ASGIApp, errors: list[Exception]) -> None:
        """Serve `app`, once that is asked for, and add to `errors` what its requests raise."""
        self._app = app
        self._errors = errors
        self._uvicorn: Any = None  # once it is started; it need not be installed before
        self._is_closed = threading.Event()
        self._watchdog = threading.Thread(target=self._answer_while_blocked, daemon=True)

    async def start(self) -> str:
        """Start the server, unless it runs; return its address.

        Raises:
            HarnessError: uvicorn is not installed.
        """
        if self._uvicorn is None:
            try:
                uvicorn: Any = import_module("uvicorn")
            except ImportError as error:
                raise HarnessError(
                    "Streams, websockets and the live server need uvicorn, which is not installed:"
                    " `uv add --dev uvicorn wsproto`, for example."
                ) from error
            config = uvicorn.Config(self._run, interface="asgi3", lifespan="off", log_config=None)
            config.load()
            server = self._uvicorn = uvicorn.Server(config)
            # Not by `serve`, which takes Ctrl-C from pytest, and is slow to end.
            server.lifespan = config.lifespan_class(config)
            self._socket = socket.create_server(("127.0.0.1", 0))
            await server.startup(sockets=[self._socket])
            self._watchdog.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def close(self) -> None:
        """Disconnect all clients, which ends streams and websockets. Work that goes on is a leak.

        Raises:
            Exception: what a request has raised.
        """
        self._is_closed.set()
        if self._uvicorn is not None:
            self._watchdog.join()
            for server in self._uvicorn.servers:
                server.close()
            for connection in [*self._uvicorn.server_state.connections]:
                connection.transport.abort()
            await still_running(self.requests, after=TASK_END_TIMEOUT)
        self.raise_errors()

    @property
    def requests(self) -> set[asyncio.Task[Any]]:
        """The tasks of requests that have not ended."""
        return {*self._uvicorn.server_state.tasks} if self._uvicorn else set()

    def raise_errors(self) -> None:
        """Raise what requests have raised so far."""
        if errors := [*self._errors]:
            self._errors.clear()
            raise errors[0] if len(errors) == 1 else ExceptionGroup("Errors of requests", errors)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except WebSocketDisconnect:
            pass  # by the client, which ends most endpoints
        except Exception as error:
            self._errors.append(error)  # and uvicorn need not log it

    def _answer_while_blocked(self) -> None:
        """In a thread, answer clients while the test blocks the loop: it might wait for them."""
        waited = 0
        with selectors.DefaultSelector() as pending:
            pending.register(self._socket, selectors.EVENT_READ)
            while not self._is_closed.wait(1):
                waited = waited + 1 if pending.select(0) else 0  # a loop that runs accepts at once
                if waited >= BLOCKED_TIMEOUT:
                    with suppress(OSError):  # it has gone
                        self._refuse(self._socket.accept()[0])

    def _refuse(self, client: socket.socket) -> None:
        error = HarnessError(
            f"The test has blocked the event loop for {BLOCKED_TIMEOUT} s, while somebody called"
            f" the live server, which runs there. {AWAIT}"
        )
        self._errors.append(error)
        with client:
            client.settimeout(1)
            client.recv(2**16)
            reason = str(error).encode()
            head = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(reason) + reason)


@pytest.fixture
def live_server_errors() -> list[Exception]:
    """What requests to `live_server` have raised. What the test leaves in it fails the test."""
    return []


@async_fixture()
async def live_server(
    app: FastAPI, live_server_errors: list[Exception], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """The address where the application is served, for browsers and other processes."""
    if not inspect.iscoroutinefunction(request.function):
        raise HarnessError(
            "The live server runs on the test's event loop, which stands still in a plain"
            f" `def test_...`. {AWAIT}"
        )
    server = LiveServer(app, live_server_errors)
    yield await server.start()
    await server.close()
