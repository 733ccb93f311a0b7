"""A clone of the prepared database for each test: a copy of its file, which takes no time."""

from .lifecycle import Database
from .prepared import drop_outdated, make, renew


class Clones:
    """Clones that become the run's database, one after another."""

    def __init__(self, database: Database) -> None:
        """Let the first be `database`."""
        self._database = database
        make(database)

    def provide(self) -> None:
        """Let the run's database be a new clone."""
        renew(self._database)

    def discard(self) -> None:
        """Do nothing: the next one replaces it."""

    def close(self) -> None:
        """Drop what nobody needs any more."""
        drop_outdated(self._database)
