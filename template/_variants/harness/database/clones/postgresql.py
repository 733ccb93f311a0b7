"""A clone of the prepared database for each test, created in advance, so that no test waits."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Final

import pytest

from ..application import PROJECT
from ..errors import ServerError
from .cloning import clone
from .lifecycle import Database, exit_on_failure
from .prepared import drop_outdated, prepared
from .server import Server

IN_ADVANCE: Final = 3
"""How many clones are ready, or in progress, for the next tests."""

SESSIONS: Final = "FROM pg_stat_activity WHERE datname = '{name}'"


class Clones:
    """Clones that become the run's database, one after another.

    Each takes its name, so its address stays the same. They are created and dropped in a thread,
    on a second admin connection.
    """

    def __init__(self, database: Database) -> None:
        """Start to create clones for `database`."""
        self._database = database
        self._server = Server(database.server.url, PROJECT, database.name)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._numbers = count(1)
        self._clones = deque[Future[str]]()
        with exit_on_failure(database), prepared(database) as self._prepared:
            for _ in range(IN_ADVANCE):
                self._create_in_advance()
            self._clones[0].result()

    def provide(self) -> None:
        """Make a new clone the run's database."""
        self._create_in_advance()
        try:
            new = self._clones.popleft().result()
        except (ServerError, pytest.exit.Exception):  # it failed in advance, and may succeed now
            new = self._create(self._new_name())
        self._rename(new, self._database.name)

    def discard(self) -> None:
        """Drop the run's database, later and under another name."""
        used = self._new_name()
        self._rename(self._database.name, used)
        self._thread.submit(self._server.drop, used)

    def close(self) -> None:
        """Drop unused clones and outdated prepared databases."""
        for new in self._clones:
            with suppress(ServerError):  # it could not be created
                self._server.drop(new.result())
        self._thread.shutdown()
        self._server.close()
        drop_outdated(self._database)

    def _create_in_advance(self) -> None:
        self._clones.append(self._thread.submit(self._create, self._new_name()))

    def _create(self, name: str) -> str:
        clone(self._server, self._prepared, name)
        return name

    def _rename(self, name: str, new: str) -> None:
        """Rename the database `name` to `new`; all its connections end."""
        server = self._database.server
        server.admin.query(f"SELECT pg_terminate_backend(pid, 5000) {SESSIONS.format(name=name)}")
        server.admin.query(f'ALTER DATABASE "{name}" RENAME TO "{new}"')
        server.created.add(new)

    def _new_name(self) -> str:
        return f"{self._database.name}_{next(self._numbers)}"
