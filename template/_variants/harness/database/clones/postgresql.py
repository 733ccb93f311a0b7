"""A clone of the prepared database for each test, made ahead, so that no test waits for it."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Final

import pytest

from ..application import PACKAGE
from ..errors import ServerError
from .cloning import clone
from .lifecycle import Database, exit_on_failure
from .prepared import drop_outdated, prepared
from .server import Server

AHEAD: Final = 3
"""How many clones wait for tests."""

SESSIONS: Final = "FROM pg_stat_activity WHERE datname = '{name}'"


class Clones:
    """Clones that become the run's database, one after another.

    They take its name, so that its address stays the same. A second connection makes and drops
    them, meanwhile.
    """

    def __init__(self, database: Database) -> None:
        """Begin to make clones for `database`."""
        self._database = database
        self._server = Server(database.server.url, PACKAGE, database.name)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._numbers = count(1)
        self._ahead = deque[Future[str]]()
        with exit_on_failure(database), prepared(database) as self._prepared:
            for _ in range(AHEAD):
                self._order()
            self._ahead[0].result()

    def provide(self) -> None:
        """Let the run's database be a new clone."""
        self._order()
        try:
            new = self._ahead.popleft().result()
        except (ServerError, pytest.exit.Exception):  # when it was made; it may be possible now
            new = self._make(self._new_name())
        self._rename(new, self._database.name)

    def discard(self) -> None:
        """Let go of the run's database."""
        used = self._new_name()
        self._rename(self._database.name, used)
        self._thread.submit(self._server.drop, used)

    def close(self) -> None:
        """Drop what is left, and what nobody needs any more."""
        for new in self._ahead:
            with suppress(ServerError):  # it could not be made
                self._server.drop(new.result())
        self._thread.shutdown()
        self._server.close()
        drop_outdated(self._database)

    def _order(self) -> None:
        self._ahead.append(self._thread.submit(self._make, self._new_name()))

    def _make(self, name: str) -> str:
        clone(self._server, self._prepared, name)
        return name

    def _rename(self, name: str, new: str) -> None:
        """Give the database `name` another one; nobody stays connected to it."""
        server = self._database.server
        server.query(f"SELECT pg_terminate_backend(pid, 5000) {SESSIONS.format(name=name)}")
        server.query(f'ALTER DATABASE "{name}" RENAME TO "{new}"')
        server.made.add(new)

    def _new_name(self) -> str:
        return f"{self._database.name}_{next(self._numbers)}"
