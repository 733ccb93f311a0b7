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
from .lifecycle import SPARED, Database, exit_on_failure
from .prepared import drop_outdated, prepared
from .server import Server

IN_ADVANCE: Final = 3
"""How many clones are ready, or in progress, for the next tests."""


class Clones:
    """Clones that become the run's database, one after another.

    Each takes its name, so its address stays the same. They are created and dropped in a thread,
    on a second admin connection. What a fixture shares is in a database that is cloned in place of
    the prepared one: see `watch.shared_data.Levels`.
    """

    def __init__(self, database: Database) -> None:
        """Start to create clones for `database`."""
        self._database = database
        self._server = Server(database.server.url, PROJECT, database.name)
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._numbers = count(1)
        self._clones = deque[Future[str]]()
        self._is_provided = False
        with exit_on_failure(database), prepared(database) as name:
            self._sources = [name]  # the last one is cloned
            self._create_all_in_advance()
            self._clones[0].result()

    def provide(self) -> None:
        """Make a new clone the run's database."""
        self.return_to_level()
        self._create_in_advance()
        try:
            new = self._clones.popleft().result()
        except (ServerError, pytest.exit.Exception):  # it failed in advance, and may succeed now
            new = self._create(self._new_name(), self._sources[-1])
        self._rename(new, self._database.name)
        self._is_provided = True

    def discard(self) -> None:
        """Drop the run's database, later and under another name, unless it is to be kept."""
        if SPARED:
            return
        self._executor.submit(self._server.drop, self._set_aside())

    def prepare(self) -> None:
        """Make a new clone the run's database, if there is none."""
        if not self._is_provided:
            self.provide()

    def add_level(self) -> None:
        """Let tests begin with what is in the run's database now."""
        self._sources.append(self._set_aside())
        self._drop_all()
        self._create_all_in_advance()

    def return_to_level(self) -> None:
        """Discard the run's database, if there is one."""
        if self._is_provided:
            self.discard()

    def remove_level(self) -> None:
        """Let tests begin with what was there before the last level."""
        self.return_to_level()
        self._drop_all()
        self._executor.submit(self._server.drop, self._sources.pop())
        self._create_all_in_advance()

    def close(self) -> None:
        """Drop unused clones and outdated prepared databases."""
        self._drop_all()
        self._executor.shutdown()
        self._server.close()
        drop_outdated(self._database)

    def _create_all_in_advance(self) -> None:
        for _ in range(IN_ADVANCE):
            self._create_in_advance()

    def _create_in_advance(self) -> None:
        new = self._executor.submit(self._create, self._new_name(), self._sources[-1])
        self._clones.append(new)

    def _create(self, name: str, source: str) -> str:
        clone(self._server, source, name)
        return name

    def _drop_all(self) -> None:
        """Drop the clones that no test has used, later."""
        while self._clones:
            self._executor.submit(self._drop, self._clones.popleft())

    def _drop(self, new: Future[str]) -> None:
        with suppress(ServerError, pytest.exit.Exception):  # it could not be created
            self._server.drop(new.result())

    def _set_aside(self) -> str:
        """Rename the run's database; return its new name."""
        name = self._new_name()
        self._rename(self._database.name, name)
        self._is_provided = False
        return name

    def _rename(self, name: str, new: str) -> None:
        """Rename the database `name` to `new`; all its connections end."""
        server = self._database.server
        rename = f'ALTER DATABASE "{name}" RENAME TO "{new}"'
        server.end_connections(name)
        try:
            server.admin.query(rename)
        except ServerError:  # somebody has connected meanwhile
            server.end_connections(name)
            server.admin.query(rename)
        server.created.add(new)

    def _new_name(self) -> str:
        return f"{self._database.name}_{next(self._numbers)}"
