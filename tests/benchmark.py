"""What a clean database costs each test and run: `uv run python -m tests.benchmark [driver ...]`.

All ways are measured in one process, one test of each in turn, on the same warm server: so their
ratios mean something even where a machine's milliseconds do not.
"""

import json
import re
import shutil
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .combinations import BACKENDS
from .generated import GeneratedProject, copy_template, render
from .pythons import UV

TABLES = 50

MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for number in range({TABLES} - 4):  # and items, audit_entries, alembic_version, contract_notes
        op.create_table(
            f"table_{{number}}",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("name", sa.String(50), nullable=False, index=True),
            sa.Column("item_id", sa.Integer(), sa.ForeignKey("items.id")),
        )
"""

START = """
def test_start():
    import my_app.main
"""
RUNS = 7
ROOM = "tests/harness/reset"

MEASURE = """
import json
import statistics
import time

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.harness.contract.example_app import Note
from tests.harness.reset.reset import Reset
from tests.harness.database.schema import create_schema
from tests.harness.database.thread import is_harness

TESTS = 300


@pytest.fixture(autouse=True)
async def harness_isolation():
    '''What is measured isolates by itself.'''


async def test_measure(harness_watch, harness_sandbox, harness_database, engine):
    watch, sandbox, database = harness_watch, harness_sandbox, harness_database
    watch.connect_shared = None
    reset = Reset(database)

    def make_engine():
        # Each way has a warm pool of its own, set up as the application's is.
        new = create_async_engine(engine.url, pool_pre_ping=engine.sync_engine.pool._pre_ping)
        new.sync_engine.dispatch._update(engine.sync_engine.dispatch)
        new.sync_engine.pool.dispatch._update(engine.sync_engine.pool.dispatch)
        return new

    engines = [make_engine() for _ in range(5)]
    plain, watched, sandboxed, real, recipe = engines
    sandboxed = engine  # the sandbox does not keep its connection for another

    async def body(bind, **options):
        async with AsyncSession(bind, expire_on_commit=False, **options) as session:
            session.add(Note(text=f"note {time.perf_counter_ns()}"))
            await session.commit()
        async with AsyncSession(bind, **options) as session:
            (await session.scalars(select(Note).limit(1))).all()

    async def alone():
        is_harness.set(True)
        await body(plain)
        is_harness.set(False)

    async def only_watched():
        async with watch.watch_test():
            await body(watched)

    async def in_sandbox():
        watch.connect_shared = sandbox.connect
        async with watch.watch_test():
            await body(sandboxed)
        watch.connect_shared = None
        await sandbox.roll_back()

    async def with_reset():
        async with watch.watch_test():
            await body(real)
        reset.run()

    async def with_recipe():
        is_harness.set(True)
        async with recipe.connect() as connection:
            transaction = await connection.begin()
            await body(connection, join_transaction_mode="create_savepoint")
            await transaction.rollback()
        is_harness.set(False)

    async def with_new_tables():
        database.server.create(database.name)
        create_schema(database)
        async with watch.watch_test():
            await body(real)
            await real.dispose()
        database.server.drop(database.name)

    ways = {
        "the body alone, nothing cleaned up": alone,
        "watched, nothing cleaned up": only_watched,
        "savepoint": in_sandbox,
        "reset": with_reset,
        "SQLAlchemy's savepoint recipe": with_recipe,
    }
    times = {name: [] for name in [*ways, "create_drop"]}
    for _ in range(TESTS):
        for name, way in ways.items():
            times[name].append(await timed(way))
            reset.run()
    for used in engines:
        await used.dispose()
    reset.close()
    database.server.drop(database.name)
    times["create_drop"] = [await timed(with_new_tables) for _ in range(7)]
    print("RESULT", json.dumps({name: statistics.median(t) for name, t in times.items()}))


async def timed(way):
    started = time.perf_counter()
    await way()
    return (time.perf_counter() - started) * 1000
"""


def render_project(driver: str, folder: Path) -> GeneratedProject:
    """Render a project whose schema has as many tables as are wanted, and install it."""
    template = copy_template(folder / f"template-{driver}")
    project = render(folder / driver, template, driver=driver, isolation="savepoint")
    # So that one run compares the two.
    reset = render(folder / f"{driver}-reset", template, driver=driver, isolation="reset")
    shutil.copytree(reset.path / ROOM, project.path / ROOM, dirs_exist_ok=True)
    (project.path / "migrations/versions/0002.py").write_text(MIGRATION)
    (project.path / "tests/test_measure.py").write_text(MEASURE)
    (project.path / "tests/test_start.py").write_text(START)
    shutil.copy(project.path / ".env.example", project.path / ".env")
    project.run(UV, "sync", "--quiet")
    return project


def measure(project: GeneratedProject) -> dict[str, float]:
    """Return the milliseconds that a test takes, by how it is isolated."""
    output = project.run(UV, "run", "--quiet", "pytest", "-s", "tests/test_measure.py")
    match = re.search(r"RESULT (.*)", output)
    assert match, output
    result: dict[str, float] = json.loads(match[1])
    return result


def measure_start(project: GeneratedProject) -> list[float]:
    """Return the seconds of a run of one test without the harness, and with it."""
    pytest = str(project.path / ".venv/bin/pytest")
    ways = [
        (pytest, "-o", "addopts=", "--noconftest", "tests/test_start.py"),
        (pytest, "tests/test_start.py"),
    ]
    project.run(*ways[1])  # prepares the database
    times: list[list[float]] = [[], []]
    for _ in range(RUNS):
        for way, spent in zip(ways, times, strict=True):
            started = time.perf_counter()
            project.run(*way)
            spent.append(time.perf_counter() - started)
    return [statistics.median(spent) for spent in times]


def main(drivers: list[str]) -> None:
    """Print a table for each of `drivers`."""
    with TemporaryDirectory() as folder:
        for driver in drivers:
            project = render_project(driver, Path(folder))
            result = measure(project)
            base = next(iter(result.values()))
            print(f"\n{driver}, {TABLES} tables")  # noqa: T201
            for name, milliseconds in result.items():
                ratio = milliseconds / base
                print(f"  {name:<36}{milliseconds:8.2f} ms {ratio:8.2f}")  # noqa: T201
            alone, started = measure_start(project)
            print(f"  a run of one test: {started:.2f} s; bare: {alone:.2f} s")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:] or [*BACKENDS])
