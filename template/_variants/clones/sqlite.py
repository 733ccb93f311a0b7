"""A clone of the prepared database for each test: a copy of its file, which takes no time."""

from .cloning import clone
from .lifecycle import Database
from .prepared import prepare


class Clones:
    """Clones that become the run's database, one after another."""

    def __init__(self, database: Database) -> None:
        """Prepare what is to be cloned for `database`."""
        self._database = database
        self._prepared = prepare(database)

    def provide(self) -> None:
        """Let the run's database be a new clone."""
        clone(self._database.server, self._prepared, self._database.name)

    def discard(self) -> None:
        """Let go of the run's database."""
        self._database.server.drop(self._database.name)

    def close(self) -> None:
        """Do nothing: nothing is left."""
