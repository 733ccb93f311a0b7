"""Fixtures of a wider scope share data: each test finds it as arranged, and it ends with them."""

import re
from itertools import product
from pathlib import Path

import pytest

from . import test_order
from .combinations import COMBINATIONS, RUNNERS, Combination, sample
from .conftest import Generate
from .generated import GeneratedProject, reports

CONFTEST = """
from contextlib import asynccontextmanager

import pytest
from my_app.models import Item
from sqlalchemy import insert, select

arranged: dict[str, list[str]] = {}


@asynccontextmanager
async def share(session_factory, *names):
    assert names[0] not in arranged
    assert await read(session_factory) == sorted(sum(arranged.values(), []))
    async with session_factory() as session:
        await session.execute(insert(Item), [{"name": name} for name in names])
        await session.commit()
        session.add(Item(name="nobody commits this"))
        await session.flush()
    arranged[names[0]] = [*names]
    yield names
    del arranged[names[0]]
    rest = {*await read(session_factory)}
    assert {*names} <= rest or not rest  # all is lost where a test has altered the database


async def read(session_factory):
    async with session_factory() as session:
        return sorted((await session.scalars(select(Item.name))).all())


@pytest.fixture(autouse=True)
async def as_arranged(session_factory):
    assert await read(session_factory) == sorted(sum(arranged.values(), []))


@pytest.fixture(scope=WIDEST)
async def country(session_factory):
    async with share(session_factory, "country", "sea") as own:
        yield own


@pytest.fixture(scope=WIDEST)
async def late(session_factory):
    async with share(session_factory, "late") as own:
        yield own


@pytest.fixture(scope="module")
def no_data():
    return 1
"""

SUITE = """
import pytest
from my_app.models import Item
from sqlalchemy import delete, text, update

from .conftest import arranged, read, share


@pytest.fixture(scope="module")
async def town(country, session_factory):
    async with share(session_factory, "town") as own:
        yield own


@pytest.fixture(scope="module", params=["red", "blue"])
async def colour(request, session_factory):
    async with share(session_factory, f"colour {request.param}") as own:
        yield own


@pytest.fixture(scope="class")
async def houses(session_factory):
    async with share(session_factory, "house 1", "house 2") as own:
        yield own


async def test_nothing(no_data): ...


async def test_change(town, session_factory, client):
    await client.post("/items", json={"name": "mine"})
    async with session_factory() as session:
        await session.execute(update(Item).values(name="changed " + Item.name))
        await session.execute(delete(Item).where(Item.name == "changed town"))
        await session.commit()
    assert "changed country" in await read(session_factory)


@pytest.fixture(scope="module")
def asks(request):
    return request.getfixturevalue("town")


async def test_asks(asks): ...


@pytest.mark.parametrize("attempt", range(3))
async def test_delete(country, session_factory, attempt):
    async with session_factory() as session:
        await session.execute(delete(Item))
        await session.commit()
    assert await read(session_factory) == []


@pytest.fixture(scope="module")
async def above(session_factory):
    async with share(session_factory, "above") as own:
        yield own


async def test_on_another(colour, above): ...


async def test_colour(colour, client):
    response = await client.post("/items", json={"name": colour[0]})
    assert response.status_code == 409


class TestHouses:
    async def test_first(self, houses, town, client):
        assert len((await client.get("/items")).json()) == len(sum(arranged.values(), []))

    async def test_late(self, houses, late, session_factory):
        async with session_factory() as session:
            await session.execute(delete(Item).where(Item.name == "late"))
            await session.commit()

    @pytest.mark.real_commits
    async def test_for_real(self, client):
        assert (await client.post("/items", json={"name": "real"})).status_code == 201

    async def test_alter(self, houses, engine):
        async with engine.begin() as connection:
            await connection.execute(text(ALTER))

    async def test_after(self, houses): ...


async def test_asks_again(asks, session_factory):
    assert {*asks} <= {*await read(session_factory)}


@pytest.fixture(scope="module")
async def fails(session_factory, country):
    async with session_factory() as session:
        session.add(Item(name="fails"))
        await session.commit()
    raise ValueError("as it must")


@pytest.mark.xfail(raises=ValueError, strict=True)
@pytest.mark.parametrize("attempt", range(2))
async def test_fails(fails, attempt): ...


def test_plain_function(town): ...
"""

BREACHES = """
import asyncio

import pytest
from my_app.models import Item
from sqlalchemy import insert


async def create(engine, name):
    async with engine.begin() as connection:
        await connection.execute(insert(Item).values(name=name))


@pytest.fixture(scope="module")
async def stays_open(session_factory):
    async with session_factory() as session:
        session.add(Item(name="table"))
        await session.flush()
        yield session


async def test_stays_open(stays_open): ...


async def test_stays_open_for_all(stays_open): ...


@pytest.fixture(scope="class")
async def shared(engine):
    await create(engine, "shared")


class TestAfterIt:
    async def test_after_it(self, shared, client):
        assert len((await client.get("/items")).json()) == 1


async def test_nothing_of_it(client):
    assert (await client.get("/items")).json() == []


@pytest.fixture(scope="class")
async def worker(engine):
    go = asyncio.Event()

    async def work():
        await go.wait()
        await create(engine, "row")

    task = asyncio.create_task(work())
    yield go, task
    task.cancel()
    await asyncio.wait([task])


class TestWorker:
    async def test_worker(self, worker):
        go, task = worker
        go.set()
        await asyncio.wait([task])

    async def test_without_it(self, worker, client):
        assert (await client.get("/items")).json() == []


class TestRealCommits:
    @pytest.mark.real_commits
    async def test_real_commits(self, shared, client):
        assert len((await client.get("/items")).json()) == 1


@pytest.fixture(scope="class")
async def leaves_traces(engine):
    yield
    await create(engine, "trace")


class TestTraces:
    async def test_traces(self, leaves_traces): ...


@pytest.fixture(scope="module")
async def base(engine):
    await create(engine, "base")


async def test_base(base): ...


class TestTracesOnIt:
    async def test_traces_on_it(self, leaves_traces): ...


async def test_no_traces(base, client):
    assert len((await client.get("/items")).json()) == 1


@pytest.fixture(scope="class")
def on_its_own_loop(engine):
    async def arrange():
        await create(engine, "chair")
        await engine.dispose()

    asyncio.run(arrange())


class TestLoop:
    async def test_loop(self, on_its_own_loop, client):
        assert len((await client.get("/items")).json()) == 2


@pytest.fixture(scope="module")
async def outlives_loops(engine_of_application):
    await create(engine_of_application, "never")


@pytest.fixture(scope="session")
def engine_of_application():
    from my_app.database import engine

    return engine


async def test_outlives_loops(outlives_loops): ...
"""
REFUSED = {
    "test_stays_open": (
        "LeakError: The fixture 'stays_open' has left open a transaction of the fixture"
        " 'stays_open' .*, after 'INSERT .*: close it before the fixture yields or returns"
    ),
    "test_stays_open_for_all": "LeakError: The fixture 'stays_open' has left open",
    "TestWorker.test_worker": (
        r"OutsideTestError: The task worker.<locals>.work at \S+:\d+, which a fixture of a wider"
        " scope has started, uses the database: .* or in a function-scoped fixture"
    ),
    "TestTraces.test_traces": "OutsideTestError: The database is used outside of a test",
}
REFUSED_IN_THE_SANDBOX = {
    "TestRealCommits.test_real_commits": "HarnessError: The data of shared is in the sandbox, ",
    "TestLoop.test_loop": "WrongLoopError: .* `await` in an async test",
}


def write_suite(project: GeneratedProject, widest: str, *, may_alter: bool) -> Path:
    """Write the suite, in two modules of a package; return its folder."""
    folder = project.path / "tests/shared"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "conftest.py").write_text(CONFTEST.replace("WIDEST", f'"{widest}"'))
    alter = '"CREATE TABLE altered (id INTEGER)"' if may_alter else '"SELECT 1"'
    for name in ("one", "two"):
        (folder / f"test_{name}.py").write_text(SUITE.replace("ALTER", alter))
    return folder


@pytest.mark.parametrize(
    "combination",
    sample(
        [
            combination
            for combination in COMBINATIONS
            if combination.isolation != "create_drop"
            and combination.loop_scope in ("session", "module")
        ]
    ),
    ids=str,
)
def test_tests_find_it_as_arranged(generate_installed: Generate, combination: Combination) -> None:
    project = generate_installed(**combination._asdict())
    # MariaDB and MySQL commit by themselves before and after such a statement.
    may_alter = (combination.backend, combination.isolation) != ("mysql", "savepoint")
    folder = write_suite(project, combination.loop_scope, may_alter=may_alter)
    project.run("pytest", "-x", "tests/shared")
    test_order.shuffle(folder / "conftest.py")
    project.run("pytest", "-n", "2", "tests/shared")


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    [
        ("asyncpg", "savepoint", "pytest-asyncio"),
        ("psycopg", "reset", "anyio"),
        ("asyncpg", "clone", "anyio"),
        ("aiosqlite", "savepoint", "anyio"),
        ("aiosqlite", "clone", "pytest-asyncio"),
        ("asyncmy", "reset", "pytest-asyncio"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    generate_installed: Generate, driver: str, isolation: str, runner: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation, runner=runner)
    (project.path / "tests/test_breaches.py").write_text(BREACHES)
    refused = REFUSED | (REFUSED_IN_THE_SANDBOX if isolation == "savepoint" else {})
    output = project.run("pytest", "tests/test_breaches.py", exit_code=1)
    seen = {title.split()[-1]: report for title, report in reports(output).items()}
    assert seen.keys() == refused.keys()
    for test, message in refused.items():
        assert re.search(message, " ".join(seen[test].split())), seen[test]


@pytest.mark.parametrize(("isolation", "runner"), [*product(("savepoint", "reset"), RUNNERS)])
def test_a_loop_has_to_last(generate_installed: Generate, isolation: str, runner: str) -> None:
    project = generate_installed(isolation=isolation, runner=runner, loop_scope="function")
    (project.path / "tests/test_breaches.py").write_text(BREACHES)
    output = project.run("pytest", "tests/test_breaches.py", "-k", "outlives", exit_code=1)
    assert "An event loop lasts for a function here" in output


def test_tables_that_are_made_for_a_test_have_no_data_to_share(
    generate_installed: Generate,
) -> None:
    project = generate_installed(isolation="create_drop")
    (project.path / "tests/test_breaches.py").write_text(BREACHES)
    output = project.run("pytest", "tests/test_breaches.py", "-k", "test_base", exit_code=1)
    assert "OutsideTestError: The database is used outside of a test, by the fixture 'ba" in output
