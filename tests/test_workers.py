"""Tasks of the lifespan that poll the database, and are cancelled wherever they are."""

import time
from itertools import product

import pytest

from .combinations import BACKENDS, sample
from .conftest import Generate

WORKER = '''
async def poll() -> None:
    """Look for work again and again."""
    while True:
        async with engine.begin() as connection:
            await connection.execute(select(Item.id).with_for_update(skip_locked=True).limit(1))
        await asyncio.sleep(0.005)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Poll while the application runs."""
    workers = [asyncio.create_task(poll()) for _ in range(3)]
    yield
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await engine.dispose()
'''

TESTS = """
import asyncio

import pytest
from tests.harness import isolation
from tests.harness.watch import watch

# Who waits for the one that was cancelled shall not come back.
watch.TASK_CANCEL_TIMEOUT = 3600
if hasattr(isolation, "Sandbox"):
    from tests.harness.sandbox import sandbox

    sandbox.WAIT_TIMEOUT = 3600


@pytest.mark.parametrize("steps", range(15))
async def test_an_innocent_one(app, steps):
    for _ in range(steps):
        await asyncio.sleep(0)


@pytest.mark.parametrize("steps", range(15))
async def test_one_that_writes(client, steps):
    for _ in range(steps):
        await asyncio.sleep(0)
    for number in range(3):
        response = await client.post("/items", json={"name": f"item {number}"})
        assert response.status_code == 201
    assert len((await client.get("/items")).json()) == 3
"""


@pytest.mark.parametrize(
    ("driver", "isolation", "loop_scope"),
    sample([*product(BACKENDS, ("savepoint", "reset"), ("session", "function"))], 2),
)
def test_workers(
    generate_installed: Generate, driver: str, isolation: str, loop_scope: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation, loop_scope=loop_scope)
    main = project.path / "src/my_app/main.py"
    head, _, tail = main.read_text().partition("@asynccontextmanager\n")
    _, create_app, tail = tail.partition("def create_app()")
    imports = "import asyncio\nfrom sqlalchemy import select\nfrom .items import Item\n"
    main.write_text(f"{imports}{head}\n{WORKER}\n\n{create_app}{tail}")
    (project.path / "tests/test_workers.py").write_text(TESTS)
    project.run("pytest", "tests/test_workers.py")


MEET = """
import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def work(engine):
    while True:
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception:
            pass
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("number", range(100))
async def test_cancelled_as_it_first_connects(engine, number):
    new = create_async_engine(engine.url)
    worker = asyncio.create_task(work(new))
    for _ in range(number % 50):
        await asyncio.sleep(0)
    await asyncio.sleep(number // 50 * 0.0003)
    worker.cancel()
    await asyncio.wait([worker], timeout=2)
    assert worker.cancelled()
    await new.dispose()
"""


def test_no_cancellation_is_lost(generate_installed: Generate) -> None:
    project = generate_installed()
    (project.path / "tests/test_meeting.py").write_text(MEET)
    assert "100 passed" in project.run("pytest", "tests/test_meeting.py")


CONTEND = """
import asyncio
import random

import pytest
from sqlalchemy import text


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_under_contention(engine, seed):
    generator = random.Random(seed)

    async def write():
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO items (name) VALUES (hex(randomblob(8)))"))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(cancel(write(), generator.random() / 10))


async def cancel(coroutine, delay):
    task = asyncio.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(delay)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
"""


def test_what_sqlalchemy_leaves_is_not_reported(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset")
    (project.path / "tests/test_contention.py").write_text(CONTEND)
    assert "20 passed" in project.run("pytest", "tests/test_contention.py")


OUTLIVE = """
import asyncio
from contextlib import suppress

from sqlalchemy import text


async def go_on(engine):
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_sleep(300)"))


async def test_a_statement_outlives_it(engine):
    asyncio.create_task(go_on(engine))


async def test_next(session):
    await session.execute(text("SELECT 1"))
"""


@pytest.mark.parametrize("isolation", ["savepoint", "reset"])
def test_a_statement_that_outlives_its_test(generate_installed: Generate, isolation: str) -> None:
    project = generate_installed(isolation=isolation)
    (project.path / "tests/test_outlive.py").write_text(OUTLIVE)
    started = time.monotonic()
    output = project.run("pytest", "tests/test_outlive.py", exit_code=1)
    assert time.monotonic() - started < 200
    assert "LeakError: This test has left open" in output
    assert "2 passed, 1 error" in output
