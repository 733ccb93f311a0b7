"""What is rendered lies in somebody else's repository: it is small, and each room has its place."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .combinations import Combination, sample
from .conftest import Generate

LIGHT = {"private_server": False}
BUDGET: list[tuple[Combination, dict[str, Any], int]] = [
    (Combination("asyncpg", "savepoint"), {}, 4820),
    (Combination("asyncpg", "savepoint"), LIGHT, 4453),
    (Combination("asyncmy", "savepoint"), {}, 4752),
    (Combination("aiosqlite", "savepoint"), {}, 4165),
    (Combination("asyncpg", "reset"), {}, 4272),
    (Combination("asyncpg", "clone"), {}, 3722),
    (Combination("asyncpg", "create_drop"), {}, 3050),
    (Combination("asyncpg", "create_drop"), LIGHT, 2683),
]
"""Lines that the harness may have, without the contract's tests. Less is better."""
LARGEST = 400
"""Lines that a file may have; and all that test authors read together."""
FRONT_ROOM = (
    *("README.md", "__init__.py", "answers.py", "application.py", "errors.py"),
    *("fixtures.py", "isolation.py"),
)

ORDER = (
    *("answers", "errors", "application", "database", "watch", "running", "reset", "sandbox"),
    *("isolation", "fixtures", "contract"),
)
"""The modules and rooms of the harness: each imports from those before it only."""


@pytest.mark.parametrize(("combination", "others", "budget"), BUDGET)
def test_the_harness_keeps_to_its_budget(
    generate: Generate, combination: Combination, others: dict[str, Any], budget: int
) -> None:
    folder = generate(**combination._asdict(), **others).path / "tests/harness"
    lines = {
        str(file.relative_to(folder)): len(file.read_text().splitlines())
        for file in sorted(folder.rglob("*.py"))
        if not file.is_relative_to(folder / "contract")
    }
    total = sum(lines.values())
    table = [f"{number:6} {path}" for path, number in lines.items()]
    print(*table, f"{total:6} of {budget}, {combination} {others}", sep="\n")  # noqa: T201
    assert total <= budget
    assert max(lines.values()) <= LARGEST
    front_room = [len((folder / file).read_text().splitlines()) for file in FRONT_ROOM]
    assert sum(front_room) <= LARGEST


@pytest.mark.parametrize("combination", sample([each for each, _, _ in BUDGET], 2), ids=str)
def test_imports_go_one_way(generate: Generate, combination: Combination) -> None:
    folder = generate(**combination._asdict()).path / "tests/harness"
    for file in folder.rglob("*.py"):
        place = file.relative_to(folder).with_suffix("").parts
        if place[0] in ORDER:
            for room in imported(file, depth=len(place)):
                assert ORDER.index(room) <= ORDER.index(place[0]), f"{file} imports {room}"


@pytest.mark.parametrize("combination", [*dict.fromkeys(each for each, _, _ in BUDGET)], ids=str)
def test_the_header_of_a_room_names_its_files(generate: Generate, combination: Combination) -> None:
    harness = generate(**combination._asdict()).path / "tests/harness"
    for room in harness.glob("*/__init__.py"):
        header = re.findall(r"^ *(\w+\.py) ", room.read_text(), re.MULTILINE)
        files = {file.name for file in room.parent.glob("*.py")} - {"__init__.py"}
        assert sorted(header) == sorted(files), room


def imported(file: Path, depth: int) -> Iterator[str]:
    """Return the modules and rooms of the harness that `file`, which is so deep in it, imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (name.partition(".")[0] for name in names)
