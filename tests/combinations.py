"""The product space: every combination of answers that the template renders."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import yaml
from jinja2 import Environment, FileSystemLoader, Template

from .generated import TEMPLATE
from .pythons import NEWEST, OLDEST

Case = TypeVar("Case", bound=tuple[Any, ...])


def sample(cases: Sequence[Case], size: int = 1) -> list[Case]:
    """Return enough of `cases`, which are tuples of answers, to try each answer.

    Args:
        cases: what could be tried. With EVERY_CASE in the environment, all of it is.
        size: how many answers are to meet, if they meet in one of the cases.
    """

    def meetings(case: Case) -> set[object]:
        return {*combinations(enumerate(case), size)}

    def worth(case: Case) -> tuple[int, int]:
        return len(meetings(case) & left), -sum(tried[answer] for answer in enumerate(case))

    left: set[object] = set().union(*map(meetings, cases))
    tried = Counter[tuple[int, Any]]()
    chosen = []
    while left and not os.environ.get("EVERY_CASE"):
        best = max(cases, key=worth)
        chosen.append(best)
        left -= meetings(best)
        tried.update(enumerate(best))
    return chosen or [*cases]


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

    @property
    def test_client(self) -> bool:
        """Whether it is tried with a fixture for plain functions."""
        choices = [*BACKENDS], ISOLATIONS, LOOP_SCOPES, RUNNERS
        return sum(map(list.index, choices, self)) % 2 == 0


def choices(question: str) -> list[Any]:
    """Return the answers that the prompt offers for `question`."""
    if ASKED[question]["type"] == "bool":
        return [True, False]
    offered = ASKED[question]["choices"]
    values = offered.values() if isinstance(offered, dict) else offered
    return [value["value"] if isinstance(value, dict) else value for value in values]


def backend_of(driver: str) -> str:
    """Return the answer to the hidden question `backend`, which follows from the driver."""
    default = COPIER["backend"]["default"]
    environment = Environment(loader=FileSystemLoader(TEMPLATE))
    return environment.from_string(default).render(driver=driver).strip()


def asked(answers: dict[str, Any]) -> dict[str, Any]:
    """Return those `answers` whose questions are asked in a dialogue that has all of them."""
    context = {"scope": "project", "backend": backend_of(answers["driver"]), **answers}
    conditions = {name: Template(ASKED[name].get("when", "True")) for name in answers}
    return {name: answers[name] for name in answers if conditions[name].render(context) == "True"}


def every_pair(questions: list[str]) -> list[dict[str, Any]]:
    """Return answers to `questions`, in which each answer meets each answer of the others.

    They are few, if not the fewest: of random ones, the one is taken that brings most pairs.
    """
    values = {question: choices(question) for question in questions}
    refused = {(("driver", driver), ("isolation", "clone")) for driver in of_backend("mysql")}
    left = dict.fromkeys(
        pair
        for two in combinations(values, 2)
        for answers in product(*(values[question] for question in two))
        if (pair := (*zip(two, answers, strict=True),)) not in refused
    )
    choice = Random(0)
    found = []
    while left:
        seed = dict(next(iter(left)))  # of which there is one at least
        best: set[Any] = set()
        for _ in range(100):
            answers = [(name, seed.get(name, choice.choice(values[name]))) for name in values]
            pairs = {*combinations(answers, 2)}
            if not pairs & refused and len(pairs & left.keys()) > len(best):
                best, chosen = pairs & left.keys(), dict(answers)
        found.append(chosen)
        for pair in best:
            del left[pair]
    return found


def of_backend(backend: str) -> list[str]:
    """Return the drivers that talk to it."""
    return [driver for driver in choices("driver") if backend_of(driver) == backend]


COPIER: Final[dict[str, Any]] = yaml.safe_load((TEMPLATE / "copier.yml").read_text())
ASKED: Final = {name: COPIER[name] for name in COPIER if "help" in COPIER[name]}
"""The questions that can be answered, in their order."""
EVERYTHING: Final = [
    name
    for name, question in ASKED.items()
    if "scope == 'harness'" not in question.get("when", "") and question.get("ask") is not False
]
"""Those of them that are about a new project."""
REST: Final = [name for name in EVERYTHING if "recommended" in ASKED[name].get("ask", "")]
"""Those of them that one question answers as recommended."""
DIALOGUE: Final = [name for name in EVERYTHING if name not in REST]
"""The others: what nobody else can know."""

BACKENDS: Final = {driver: backend_of(driver) for driver in choices("driver")}
ISOLATIONS: Final = choices("isolation")
LOOP_SCOPES: Final = choices("loop_scope")
RUNNERS: Final = choices("runner")

COMBINATIONS: Final = [
    combination
    for answers in product(BACKENDS, ISOLATIONS, LOOP_SCOPES, RUNNERS)
    if (combination := Combination(*answers)).is_offered
]
