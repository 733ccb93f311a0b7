"""Undoes real commits by the strategy `reset`, since cloning a database is slow here."""

from collections.abc import Iterator

import pytest

from ..database.lifecycle import SPARED, Database
from ..database.prepared import renew
from ..reset.changes import TrackedConnection
from ..reset.reset import Reset
from ..watch.watch import Watch


class RealCommits:
    """Gives tests with real commits a database without traces of other tests."""

    def __init__(self, database: Database, watch: Watch) -> None:
        """Undo commits to `database`, by connections that `watch` opens."""
        self._database = database
        self._watch = watch
        self._reset: Reset | None = None
        self.has_traces = False

    def begin(self) -> None:
        """Give the test a database without traces of other tests."""
        if self._reset is None:
            renew(self._database)
            self._reset = Reset(self._database)
        elif self.has_traces:
            self._reset.run()
        self.has_traces = True  # even if all is rolled back: counters go on
        self._watch.guard = TrackedConnection  # a reset has to know what alters the schema

    def undo(self) -> None:
        """Return the database to its original state.

        Raises:
            LeakError: a transaction was open. It has been ended, and the database is reset.
        """
        if self._reset is None:
            renew(self._database)
        elif not SPARED:
            self._reset.run()
        self.has_traces = False

    def close(self) -> None:
        """Disconnect."""
        if self._reset is not None:
            self._reset.close()


@pytest.fixture(scope="session")
def harness_real_commits(
    harness_schema: None, harness_database: Database, harness_watch: Watch
) -> Iterator[RealCommits]:
    """What undoes real commits."""
    real_commits = RealCommits(harness_database, harness_watch)
    yield real_commits
    real_commits.close()
