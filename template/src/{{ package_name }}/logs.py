"""Logs: each event is a line of JSON, or a readable one on a terminal; each request has an id.

That is so once the application has started: what a server says before is its own.

Everything logs by the standard library, `logging.getLogger(__name__).info("...", extra={...})`;
structlog writes the lines.
"""

import logging
import re
import sys
import time
from typing import Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from .errors import ProblemResponse

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")

logger = logging.getLogger(__name__)


def configure_logging(level: str) -> None:
    """Write what is logged at `level` and above to standard error.

    Call it when the application starts: servers have set up loggers of their own by then. Handlers
    that the root logger has already, such as pytest's, stay as they are, and so does its level.
    """
    final: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    if sys.stderr.isatty():
        final = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    handler = logging.StreamHandler()
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, drop_color_message, *final],
        )
    )
    logging.basicConfig(handlers=[handler], level=level)
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers.clear()
    uvicorn.propagate = True
    for each in (uvicorn, logging.getLogger("uvicorn.error")):
        each.setLevel(logging.NOTSET)  # the root logger's
    logging.getLogger("uvicorn.access").disabled = True  # RequestLog has a line for each request


def drop_color_message(_: object, __: str, event: EventDict) -> EventDict:
    """Drop the copy of the message that uvicorn adds for terminals."""
    event.pop("color_message", None)
    return event


class RequestLog:
    """Gives each request an id, answers 500 if it fails, and logs one line about it."""

    def __init__(self, app: ASGIApp) -> None:
        """Call `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Its id is the client's, in `X-Request-ID`, or a new one.

        An unexpected error is raised again: the server logs it, once, with its traceback.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        # Never unbound: what the server logs has it, too, and each request has its own context.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = ended = time.perf_counter()
        status = None

        async def send_with_id(message: Message) -> None:
            nonlocal ended, status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)
            ended = time.perf_counter()

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            if status is None:
                await ProblemResponse(500)(scope, receive, send_with_id)
            raise
        finally:
            about = {
                "method": scope["method"],
                "path": scope["path"],  # without the query, which may have secrets
                "status": status,
                "duration_ms": round((ended - started) * 1000, 1),
            }
            logger.info("request", extra=about)
