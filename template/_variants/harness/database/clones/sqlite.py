"""A clone of the prepared database for each test: a copy of its file, which is fast."""

from .lifecycle import Database
from .prepared import drop_outdated, make, renew


class Clones:
    """Clones that become the run's database, one after another."""

    def __init__(self, database: Database) -> None:
        """Create `database` as the first one."""
        self._database = database
        make(database)

    def provide(self) -> None:
        """Make a new clone the run's database."""
        renew(self._database)

    def discard(self) -> None:
        """Do nothing: the next one replaces it."""

    def close(self) -> None:
        """Drop outdated prepared databases."""
        drop_outdated(self._database)
