"""The product space: every combination of answers that the template renders."""

from itertools import product
from typing import Final, NamedTuple

from .pythons import NEWEST, OLDEST


class Combination(NamedTuple):
    """The answers that a harness depends on."""

    driver: str = "asyncpg"
    isolation: str = "savepoint"
    loop_scope: str = "session"
    runner: str = "pytest-asyncio"

    def __str__(self) -> str:
        return "-".join(self)

    @property
    def backend(self) -> str:
        """The kind of database that the driver talks to."""
        return BACKENDS[self.driver]

    @property
    def is_offered(self) -> bool:
        """Whether the prompt offers it: MariaDB and MySQL cannot clone databases."""
        return not (self.isolation == "clone" and self.backend == "mysql")

    @property
    def resets(self) -> bool:
        """Whether real commits are reset: on MariaDB and MySQL those of marked tests are, too."""
        return self.isolation == "reset" or (self.isolation, self.backend) == ("savepoint", "mysql")

    @property
    def python(self) -> str:
        """The Python that its tests run on: the oldest of this machine, or the newest.

        It follows from the answers that an environment follows from, so that there is one
        environment for each pair of them, as there would be with one Python.
        """
        place = [*BACKENDS].index(self.driver) + RUNNERS.index(self.runner)
        return (OLDEST, NEWEST)[place % 2]


BACKENDS: Final = {
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "aiosqlite": "sqlite",
    "asyncmy": "mysql",
    "aiomysql": "mysql",
}
ISOLATIONS: Final = ("savepoint", "reset", "clone", "create_drop")
LOOP_SCOPES: Final = ("session", "module", "class", "function")
RUNNERS: Final = ("pytest-asyncio", "anyio")

COMBINATIONS: Final = [
    combination
    for answers in product(BACKENDS, ISOLATIONS, LOOP_SCOPES, RUNNERS)
    if (combination := Combination(*answers)).is_offered
]
