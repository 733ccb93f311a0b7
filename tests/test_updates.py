"""`copier update`: every switch lands on a fresh render, and what the owner has done survives."""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import copier
import pytest

from .combinations import BACKENDS, COMBINATIONS, Combination
from .conftest import Environment
from .generated import UV, GeneratedProject, commit, copy_template, git

Switch = tuple[Combination, Combination]

SEED = os.environ.get("SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or "0"
"""The same in all processes of a run, and another one in each run."""
CHUNKS = 8
"""How many tests the switches are spread over."""
OTHERS = 24
"""How many switches of several answers at once are tried."""


def switches() -> list[Switch]:
    """Return all ordered pairs of combinations that differ in one answer."""
    return [
        (old, new)
        for old in COMBINATIONS
        for new in COMBINATIONS
        if sum(map(str.__ne__, old, new)) == 1
    ]


def one_of_each_kind(switches: list[Switch], choice: random.Random) -> list[Switch]:
    """Return, for each pair of values that an answer can change from and to, one of `switches`."""
    kinds = defaultdict(list)
    for old, new in switches:
        kinds[*(values for values in zip(old, new, strict=True) if values[0] != values[1])].append(
            (old, new)
        )
    return [choice.choice(found) for found in kinds.values()]


def circuit(switches: list[Switch]) -> list[Switch]:
    """Order `switches` so that each begins where the last one has ended (Hierholzer's way)."""
    left = defaultdict(list)
    for old, new in switches:
        left[old].append(new)
    stack, path = [switches[0][0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            path.append(stack.pop())
    path.reverse()
    return [*pairwise(path)]


def chosen_switches() -> list[Switch]:
    """Return all switches if EVERY_SWITCH is set; else some of each kind."""
    every = switches()
    if os.environ.get("EVERY_SWITCH"):
        return circuit(every)
    choice = random.Random(SEED)
    others = [(old, new) for old in COMBINATIONS for new in COMBINATIONS if old != new]
    return one_of_each_kind(every, choice) + choice.sample(others, OTHERS)


def chunks(switches: list[Switch]) -> Iterable[list[Switch]]:
    size = -(-len(switches) // CHUNKS)
    return (switches[start : start + size] for start in range(0, len(switches), size))


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a repository with one version."""
    folder = copy_template(tmp_path_factory.mktemp("released"))
    commit(folder, tag="v1.0.0")
    return folder


@pytest.fixture
def make(released: Path, tmp_path: Path) -> Callable[..., GeneratedProject]:
    """Render a project of that version, and commit it."""

    def make(name: str = "project", **answers: Any) -> GeneratedProject:
        copier.run_copy(str(released), tmp_path / name, data=answers, defaults=True, quiet=True)
        commit(tmp_path / name)
        return GeneratedProject(tmp_path / name)

    return make


def update(project: GeneratedProject, version: str | None = None, **answers: Any) -> None:
    """Update a project to `version`, or change answers only, and commit that."""
    copier.run_update(
        project.path,
        data=answers,
        vcs_ref=version or copier.VcsRef.CURRENT,
        defaults=True,
        overwrite=True,
        quiet=True,
    )
    commit(project.path)


@pytest.fixture(scope="session")
def fresh(
    released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Combination], dict[str, str]]:
    """Return what a fresh project of a combination has in its files."""
    known: dict[Combination, dict[str, str]] = {}

    def fresh(combination: Combination) -> dict[str, str]:
        if combination not in known:
            folder = tmp_path_factory.mktemp(str(combination))
            answers = combination._asdict()
            copier.run_copy(str(released), folder, data=answers, defaults=True, quiet=True)
            known[combination] = GeneratedProject(folder).files()
        return known[combination]

    return fresh


@pytest.mark.parametrize("number", range(CHUNKS))
def test_every_switch_lands_on_a_fresh_render(
    make: Callable[..., GeneratedProject],
    fresh: Callable[[Combination], dict[str, str]],
    number: int,
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where the test fails
    project, now = None, None
    for place, (old, new) in enumerate([*chunks(chosen_switches())][number]):
        if project is None or now != old:
            project = make(f"project-{place}", **old._asdict())
        update(project, **changed(old, new))
        assert project.files() == fresh(new), f"{old} -> {new}"
        now = new


def changed(old: Combination, new: Combination) -> dict[str, str]:
    """Return the answers that differ."""
    return {name: answer for name, answer in new._asdict().items() if getattr(old, name) != answer}
