"""Undoes real commits: the database is made anew, as a clone of the prepared one."""

from ..database.lifecycle import Database, exit_on_failure
from ..database.prepared import renew


class RealCommits:
    """Gives tests with real commits a database that nobody has used."""

    def __init__(self, database: Database) -> None:
        """Undo what is committed to `database`."""
        self._database = database
        self.is_used = False  # also if all was rolled back: sequences go on

    def begin(self) -> None:
        """Give the test a database that is as new."""
        if self.is_used:
            self.undo()
        self.is_used = True

    def undo(self) -> None:
        """Make the database anew; nobody stays connected.

        Raises:
            pytest.exit.Exception: it cannot be made.
        """
        with exit_on_failure(self._database):
            renew(self._database)
        self.is_used = False

    def close(self) -> None:
        """Do nothing: the database is dropped."""
