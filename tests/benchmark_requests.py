"""What a test of two requests costs, with all that surrounds it: fixtures, the lifespan, its pool;
and what it costs that tests share data.

    uv run python -m tests.benchmark_requests [driver ...]

Projects that differ in their isolation, or in what is in their database, run in turn; each figure
is the median of the runs' medians, and each ratio that of the runs' ratios. `BEFORE=v1.0.0` has
projects of that version take part: any revision of this repository.
"""

import json
import os
import re
import shutil
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from .benchmark import MIGRATION
from .combinations import BACKENDS
from .generated import TEMPLATE, GeneratedProject, copy_template, git, render
from .pythons import UV

RUNS: Final = 5
ROWS: Final = 1_000_000
MANY_ROWS: Final = """
    op.execute(
        "INSERT INTO table_0 (name) WITH RECURSIVE n (i) AS"
        " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT 'a row' FROM n, n AS m"
    )
"""

TESTS: Final = """
import json
import statistics
import time

import pytest
from my_app.items import Item
from sqlalchemy import insert

STARTED = []


def print_result(count, number):
    # From the start of each test to that of the next: all that a test costs.
    STARTED.append(time.perf_counter())
    if number == count - 1:
        took = [later - start for start, later in zip(STARTED, STARTED[1:])]
        parts = took[count // 10:], took[count // 100:count // 10], took[-count // 10:]
        print("RESULT", json.dumps([statistics.median(part) * 1000 for part in parts]))


async def arrange(engine, count):
    async with engine.begin() as connection:
        await connection.execute(
            insert(Item), [{"name": f"shared {number}"} for number in range(count)]
        )


@pytest.fixture(scope="module")
async def one_shared(engine):
    await arrange(engine, 1)


@pytest.fixture(scope="module")
async def thousand_shared(engine):
    await arrange(engine, 1000)


@pytest.mark.parametrize("number", range(300))
async def test_one_shared(one_shared, session, number):
    await write_one(session, number)


@pytest.mark.parametrize("number", range(300))
async def test_thousand_shared(thousand_shared, session, number):
    await write_one(session, number)


async def write_one(session, number):
    print_result(300, number)
    session.add(Item(name="mine"))
    await session.commit()


@pytest.mark.parametrize("number", range(300))
async def test_two_requests(client, number):
    print_result(300, number)
    assert (await client.post("/items", json={"name": "a"})).status_code == 201
    assert len((await client.get("/items")).json()) == 1


@pytest.mark.parametrize("number", range(5000))
async def test_hundred_rows(session, number):
    print_result(5000, number)
    session.add_all(Item(name=f"item {number}") for number in range(100))
    await session.commit()
"""


def template_of(revision: str, folder: Path) -> Path:
    """Return the template as it was at a `revision` of this repository, unpacked into `folder`."""
    archive = folder.with_suffix(".tar")
    git(TEMPLATE, "archive", f"--output={archive}", revision, "copier.yml", "template")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder


def prepare(
    template: Path, folder: Path, driver: str, isolation: str, rows: str = ""
) -> GeneratedProject:
    """Render a project, whose migrations leave `rows`; install it, and prepare its database."""
    project = render(folder, template, driver=driver, isolation=isolation)
    (project.path / "migrations/versions/0002.py").write_text(MIGRATION + rows)
    (project.path / "tests/test_requests.py").write_text(TESTS)
    project.run(UV, "sync", "--quiet")
    measure(project, "test_two_requests")
    return project


def measure(project: GeneratedProject, test: str) -> list[float]:
    """Return the milliseconds of one test: of all, of the early ones, and of the last tenth."""
    pytest = str(project.path / ".venv/bin/pytest")
    output = project.run(pytest, "-s", "-q", "tests/test_requests.py", "-k", test)
    match = re.search(r"RESULT (.*)", output)
    assert match, output
    result: list[float] = json.loads(match[1])
    return result


def main(drivers: list[str]) -> None:
    """Print a table for each of `drivers`."""
    for driver in drivers:
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            now = copy_template(folder / "template")
            ways = {
                isolation: prepare(now, folder / isolation, driver, isolation)
                for isolation in ("savepoint", "reset")
            }
            if BACKENDS[driver] != "sqlite":  # whose file is copied
                ways[f"reset, {ROWS:,} rows"] = prepare(
                    now, folder / "rows", driver, "reset", MANY_ROWS
                )
            if revision := os.environ.get("BEFORE"):
                before = template_of(revision, folder / "before")
                for isolation in ("savepoint", "reset"):
                    name = f"{isolation}, {revision}"
                    ways[name] = prepare(before, folder / name, driver, isolation)
            runs = [
                {name: measure(project, "test_two_requests")[0] for name, project in ways.items()}
                for _ in range(RUNS)
            ]
            print(f"\n{driver}: a test of two requests")  # noqa: T201
            for name in ways:
                took = statistics.median(run[name] for run in runs)
                ratio = statistics.median(run[name] / run["savepoint"] for run in runs)
                print(f"  {name:<36}{took:8.2f} ms {ratio:8.2f}")  # noqa: T201
            for isolation in ("savepoint", "reset"):
                shared = [
                    [measure(ways[isolation], f"test_{n}_shared")[0] for n in ("one", "thousand")]
                    for _ in range(RUNS)
                ]
                one, thousand = (statistics.median(column) for column in zip(*shared, strict=True))
                ratio = statistics.median(run[1] / run[0] for run in shared)
                print(f"  {isolation}, a row beside one that tests share: {one:.2f} ms;", end="")  # noqa: T201
                print(f" beside 1,000: {thousand:.2f} ms, {ratio:.2f}")  # noqa: T201
            _, early, late = measure(ways["reset"], "test_hundred_rows")
            print(f"  reset, 100 rows a test: {early:.2f} ms; after 4,500 tests {late:.2f} ms")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:] or [*BACKENDS])
