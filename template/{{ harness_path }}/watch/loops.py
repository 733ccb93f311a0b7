"""What is said of a connection that is used on another event loop than its own."""

import asyncio
import threading
from typing import Final
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import URL

from ..answers import LOOP_SCOPE
from ..errors import WrongLoopError
from .runner import describe_settings
from .who import Who, running_loop, stack

LIFETIME: Final = (
    f"An event loop lasts for a {LOOP_SCOPE} here: give the fixture no wider scope, or the harness"
    " another loop_scope."
)


class Loops:
    """Numbers event loops, and describes how one is misused."""

    def __init__(self, config: pytest.Config, url: URL, who: Who) -> None:
        """Describe the use of connections to `url`."""
        self._config = config
        self._url = url
        self._who = who
        self._numbers = WeakKeyDictionary[asyncio.AbstractEventLoop, int]()

    def error(
        self,
        loop: asyncio.AbstractEventLoop | None,
        opened_by: str,
        thread: int,
        misuse: str | None = None,
    ) -> WrongLoopError:
        """Return the error for a connection that `opened_by` has opened on `loop`, in `thread`.

        Args:
            loop: where it works.
            opened_by: who has opened it.
            thread: where the loop runs, as `threading.get_ident` says.
            misuse: what is wrong, if not that it is used here and now.
        """
        misuse = misuse or f"It is used on {self.describe(running_loop())} by {self._who}."
        if any(frame.f_globals.get("__name__") == "alembic.command" for frame in stack()):
            fix = (
                "Alembic migrates on an event loop of its own. The tables are there already:"
                " replace what starts it in this test, or mark the test with"
                " @pytest.mark.real_commits."
            )
        elif {thread, threading.get_ident()} != {threading.main_thread().ident}:
            fix = "A thread has a loop of its own, as that of Starlette's TestClient: " + (
                "take the fixture `test_client` in place of it, and its method"
                " `test_client.portal.call(...)` for coroutines."
                if self._who.is_sync_test
                else "call the application through the fixture `client` instead, and coroutines"
                " with `await`."
            )
        else:
            fix = (
                "Run all that shares an engine on one loop, or make an engine for each. Where"
                " asyncio.run() is called, which makes a loop of its own, `await` in an async test."
                f" {describe_settings(self._config)}"
            )
        return WrongLoopError(
            f"A connection of Engine({self._url!r}) was opened on {self.describe(loop)} by"
            f" {opened_by}, and works there only. {misuse} {fix}"
        )

    def describe(self, loop: asyncio.AbstractEventLoop | None) -> str:
        """Return the number of `loop`, and whether it is closed."""
        if loop is None:
            return "no loop"
        number = self._numbers.setdefault(loop, len(self._numbers) + 1)
        return f"loop {number} (closed)" if loop.is_closed() else f"loop {number}"
