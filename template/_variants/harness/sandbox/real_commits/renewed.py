"""Undoes real commits: the database is replaced by a new clone of the prepared one."""

import pytest

from ..database.lifecycle import Database, exit_on_failure
from ..database.prepared import renew


class RealCommits:
    """Gives tests with real commits a database without traces of other tests."""

    def __init__(self, database: Database) -> None:
        """Undo commits to `database`."""
        self._database = database
        self.has_traces = False

    def begin(self) -> None:
        """Give the test a database without traces of other tests."""
        if self.has_traces:
            self.undo()
        self.has_traces = True  # even if all is rolled back: sequences go on

    def undo(self) -> None:
        """Create the database again; all its connections end.

        Raises:
            pytest.exit.Exception: it cannot be created.
        """
        with exit_on_failure(self._database):
            renew(self._database)
        self.has_traces = False


@pytest.fixture(scope="session")
def harness_real_commits(harness_schema: None, harness_database: Database) -> RealCommits:
    """What undoes real commits."""
    return RealCommits(harness_database)
