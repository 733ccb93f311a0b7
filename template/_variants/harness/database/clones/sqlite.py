"""A clone of the prepared database for each test: a copy of its file, which is fast."""

from itertools import count

from .cloning import clone
from .lifecycle import Database, exit_on_failure
from .prepared import drop_outdated, make, renew


class Clones:
    """Clones that become the run's database, one after another.

    What a fixture shares is in a file that is copied in place of the prepared one: see
    `watch.shared_data.Levels`.
    """

    def __init__(self, database: Database) -> None:
        """Create `database` as the first one."""
        self._database = database
        self._sources = list[str]()  # but for the prepared one; the last one is cloned
        self._numbers = count(1)
        self._is_provided = False
        make(database)

    def provide(self) -> None:
        """Make a new clone the run's database."""
        if not self._sources:
            renew(self._database)
            return
        with exit_on_failure(self._database):
            self._database.server.drop(self._database.name)
            clone(self._database.server, self._sources[-1], self._database.name)

    def discard(self) -> None:
        """Do nothing: the next one replaces it."""
        self._is_provided = False

    def prepare(self) -> None:
        """Make a new clone the run's database, if there is none."""
        if not self._is_provided:
            self.provide()
            self._is_provided = True

    def add_level(self) -> None:
        """Let tests begin with what is in the run's database now."""
        name = f"{self._database.name}_{next(self._numbers)}"
        clone(self._database.server, self._database.name, name)
        self._sources.append(name)
        self.discard()

    def return_to_level(self) -> None:
        """Discard the run's database."""
        self.discard()

    def remove_level(self) -> None:
        """Let tests begin with what was there before the last level."""
        self._database.server.drop(self._sources.pop())
        self.discard()

    def close(self) -> None:
        """Drop outdated prepared databases."""
        drop_outdated(self._database)
