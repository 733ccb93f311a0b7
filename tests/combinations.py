"""The product space: every combination of answers that the template renders."""

from itertools import product
from typing import Final, NamedTuple


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


BACKENDS: Final = {
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "aiosqlite": "sqlite",
    "asyncmy": "mysql",
    "aiomysql": "mysql",
}
ISOLATIONS: Final = ("savepoint", "reset", "clone", "create_drop")
LOOP_SCOPES: Final = ("session", "package", "module", "class", "function")
RUNNERS: Final = ("pytest-asyncio", "anyio")

COMBINATIONS: Final = [
    combination
    for answers in product(BACKENDS, ISOLATIONS, LOOP_SCOPES, RUNNERS)
    if (combination := Combination(*answers)).is_offered
]
