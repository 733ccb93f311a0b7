"""The product space: every combination of answers that the template renders."""

from itertools import product
from typing import Any, Final, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader

from .generated import TEMPLATE
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


def choices(question: str) -> list[str]:
    """Return the answers that the prompt offers for `question`."""
    offered = ASKED[question]["choices"]
    values = offered.values() if isinstance(offered, dict) else offered
    return [value["value"] if isinstance(value, dict) else value for value in values]


def backend_of(driver: str) -> str:
    """Return the answer to the hidden question `backend`, which follows from the driver."""
    default = COPIER["backend"]["default"]
    environment = Environment(loader=FileSystemLoader(TEMPLATE))
    return environment.from_string(default).render(driver=driver).strip()


COPIER: Final[dict[str, Any]] = yaml.safe_load((TEMPLATE / "copier.yml").read_text())
ASKED: Final = {name: COPIER[name] for name in COPIER if "help" in COPIER[name]}
"""The questions that somebody at a terminal is asked, in their order."""
DIALOGUE: Final = [
    name for name, question in ASKED.items() if "scope == 'harness'" not in question.get("when", "")
]
"""Those of them that are about a new project."""

BACKENDS: Final = {driver: backend_of(driver) for driver in choices("driver")}
ISOLATIONS: Final = choices("isolation")
LOOP_SCOPES: Final = choices("loop_scope")
RUNNERS: Final = choices("runner")

COMBINATIONS: Final = [
    combination
    for answers in product(BACKENDS, ISOLATIONS, LOOP_SCOPES, RUNNERS)
    if (combination := Combination(*answers)).is_offered
]
