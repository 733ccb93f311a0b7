"""Calls the application: in process, and by a server where a response goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import HarnessError
from ..watch.tasks import still_running
from .live_server import LiveServer
from .session import refuse_pending

END_TIMEOUT: Final = 10
"""Seconds in which a response that has begun must end, if the test waits for all of it."""
DISCONNECT_TIMEOUT: Final = 1
"""Seconds that the application may go on when its client has gone, before the test does."""
BY_SERVER: Final = "tests.harness: by server"
"""The extension of a request that goes to the server."""


class Client(httpx2.AsyncClient):
    """A client of an application, whose errors are raised as they are."""

    def __init__(self, app: ASGIApp, sessions: list[AsyncSession], **options: Any) -> None:
        """Call `app`, once `sessions` have written all; `options` are those of `httpx2`'s."""
        self._sessions = sessions
        self._server = LiveServer(app, [])
        super().__init__(transport=Transport(app, self._server), **options)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send `request`.

        Raises:
            CommitFirstError: a session has changes that the application would not see.
        """
        for session in self._sessions:
            refuse_pending(session)
        return await super().send(request, **options)

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx2.URL | str, **options: Any
    ) -> AsyncIterator[httpx2.Response]:
        """Yield the response as soon as it has begun; `sse` and `websocket` call this, too."""
        options["extensions"] = {**(options.get("extensions") or {}), BY_SERVER: True}
        requests = self._server.requests
        try:
            async with super().stream(method, url, **options) as response:
                try:
                    yield response
                except BaseExceptionGroup as group:
                    # httpx2 runs the block of a websocket in a group of tasks.
                    if response.status_code == 101 and len(group.exceptions) == 1:
                        raise group.exceptions[0] from None
                    raise
        finally:
            await still_running(self._server.requests - requests, after=DISCONNECT_TIMEOUT)
            self._server.raise_errors()


class Transport(httpx2.AsyncBaseTransport):
    """Calls the application in the task of the request, or by a server."""

    def __init__(self, app: ASGIApp, server: LiveServer) -> None:
        """Call `app`; `server` serves it."""
        self._app = app
        self._server = server
        self._network: httpx2.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the response.

        Raises:
            HarnessError: it does not end, and the test waits for its end.
        """
        if BY_SERVER in request.extensions:
            return await self._send_to_server(request)
        try:
            async with asyncio.timeout(None) as limit:
                transport = httpx2.ASGITransport(limited(self._app, limit))
                return await transport.handle_async_request(request)
        except TimeoutError:
            if not limit.expired():
                raise
            raise HarnessError(
                f"The response to {request.method} {request.url.path} has begun, and not ended"
                f" within {END_TIMEOUT} s, and this call waits for its end. Read it while it is"
                " sent: `async with client.stream(...)`, or client.sse(...)."
            ) from None

    async def _send_to_server(self, request: httpx2.Request) -> httpx2.Response:
        address = httpx2.URL(await self._server.start())
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(scheme="http", host=address.host, port=address.port),
            headers=request.headers,  # with the host that was asked for
            stream=request.stream,
            extensions=request.extensions,
        )
        if request.url.scheme in ("https", "wss"):
            sent.headers["x-forwarded-proto"] = "https"
        self._network = self._network or httpx2.AsyncHTTPTransport()
        return await self._network.handle_async_request(sent)

    async def aclose(self) -> None:
        """Close what is open."""
        if self._network:
            await self._network.aclose()
        await self._server.close()


def limited(app: ASGIApp, limit: asyncio.Timeout) -> ASGIApp:
    """Return `app`, with a `limit` between the beginning and the end of its response."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time() + END_TIMEOUT)
            elif not message.get("more_body") and not limit.expired():
                limit.reschedule(None)
            await send(message)

        await app(scope, receive, watched)

    return run
