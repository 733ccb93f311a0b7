"""The fixtures treat the application as a server does."""

import pytest

from .combinations import ISOLATIONS, RUNNERS
from .conftest import Generate

LIFESPAN = """
import anyio
import pytest
from fastapi import FastAPI
from my_app.database import get_session
from tests.harness import fixtures


@pytest.fixture
def lifespan_fails():
    return False


@pytest.fixture(autouse=True)
def other_app(monkeypatch, lifespan_fails):
    async def lifespan(_):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            if lifespan_fails:
                raise LookupError("not today")
            yield
            group.cancel_scope.cancel()

    app = FastAPI(lifespan=lifespan)
    app.get("/")(lambda: "here")
    monkeypatch.setattr(fixtures, "get_app", lambda: app)


async def test_a_task_group_lives_as_long_as_the_application(client):
    assert (await client.get("/")).json() == "here"


@pytest.mark.parametrize("lifespan_fails", [True])
async def test_an_application_that_cannot_start(request, app):
    pass
"""

PROTOCOL = """
import contextvars

import httpx2
import pytest
from fastapi import FastAPI, Request
from tests.harness import fixtures
from tests.harness.running.lifespan import running
from tests.harness.errors import HarnessError

inherited = contextvars.ContextVar("inherited")


class Middleware:
    def __init__(self, app, told, answer):
        self.app, self.told, self.answer = app, told, answer

    async def __call__(self, scope, receive, send):
        self.told.append(scope["type"])
        if scope["type"] == "lifespan" and self.answer != "pass on":
            if self.answer:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": self.answer})
        else:
            await self.app(scope, receive, send)


def make(told, answer="pass on", fails_at_the_end=False):
    async def lifespan(app):
        yield {"greeting": f"hello {inherited.get()}"}
        if fails_at_the_end:
            raise LookupError("not today")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(Middleware, told=told, answer=answer)

    @app.get("/")
    async def greet(request: Request):
        is_new = not hasattr(request.state, "seen")
        request.state.seen = True
        return [request.state.greeting, is_new]

    return app


@pytest.fixture(autouse=True)
async def other_app(monkeypatch):
    told = []
    app = make(told)
    monkeypatch.setattr(fixtures, "get_app", lambda: app)
    inherited.set("from the test")
    return told


async def test_requests_have_the_state_and_middleware_hears_all(app, client, other_app):
    expected = ["hello from the test", True]
    for _ in range(2):
        assert (await client.get("/")).json() == expected
    own = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=own, base_url="http://test") as other:
        assert (await other.get("/")).json() == expected
    assert other_app == ["lifespan", "http", "http", "http"]


async def test_an_application_without_a_lifespan():
    async with running(make(told := [], answer=None)):
        assert told == ["lifespan"]


async def test_an_application_that_refuses_to_start():
    with pytest.raises(HarnessError, match="startup.failed: no licence"):
        async with running(make([], answer="no licence")):
            raise AssertionError


async def test_an_application_that_fails_at_the_end():
    with pytest.raises(LookupError, match="not today") as failure:
        async with running(make([], fails_at_the_end=True)):
            pass
    assert failure.traceback[-1].name == "lifespan"
"""

NAMES = "sessions", "database", "schema", "isolation", "watch", "sandbox", "reset", "clones"
FIXTURE = """
@pytest.fixture(scope={scope!r}, autouse=True)
def {name}():
    return "the owner's"


"""

PENDING = """
import pytest
from my_app.models import Item, Review
from sqlalchemy import event, select, update
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import relationship, selectinload

Item.comments = relationship(Review, overlaps="reviews")


@pytest.fixture
async def item(session):
    item = Item(name="as read")
    session.add(item)
    await session.commit()
    return item


async def change_elsewhere(session_factory):
    async with session_factory.begin() as other:
        await other.execute(update(Item).values(name="elsewhere"))


@pytest.fixture(params=["scalar", "stream", "get", "get_one"])
def read(request, item):
    async def read(session):
        match request.param:
            case "scalar":
                return await session.scalar(select(Item))
            case "stream":
                return (await (await session.stream_scalars(select(Item))).all())[0]
            case name:
                return await getattr(session, name)(Item, item.id)

    return read


async def test_changes_survive_reads_that_do_not_flush(session, item, read):
    item.name = "pending"
    with session.no_autoflush:
        assert await read(session) is item
    assert item.name == "pending"
    await session.commit()
    assert (await session.scalar(select(Item.name))) == "pending"


async def test_a_statement_may_refuse_to_flush(session, item):
    item.name = "pending"
    await session.scalar(select(Item).execution_options(autoflush=False))
    await session.scalar(select(Item), execution_options={"autoflush": False})
    assert item.name == "pending"


async def test_changes_survive_reads_that_flush(session, item, read):
    item.name = "pending"
    assert await read(session) is item
    assert item.name == "pending"
    assert (await session.scalar(select(Item.name))) == "pending"


async def test_changes_survive_reads_before_a_flush(session, item):
    @event.listens_for(session.sync_session, "before_flush")
    def look(session, *_):
        assert session.scalars(select(Item)).all() == [item]
        assert session.get(Item, item.id) is item

    item.name = "pending"
    await session.commit()
    assert (await session.scalar(select(Item.name))) == "pending"


async def test_reads_are_fresh(session, session_factory, item, read):
    await change_elsewhere(session_factory)
    assert item.name == "as read"
    await read(session)
    assert item.name == "elsewhere"
    with session.no_autoflush:
        async with session_factory.begin() as other:
            await other.execute(update(Item).values(name="again"))
        await read(session)
    assert item.name == "again"


async def test_what_is_asked_for_explicitly(session, item):
    item.name = "pending"
    with session.no_autoflush:
        await session.get(Item, item.id, populate_existing=True)
    assert item.name == "as read"
    item.name = "pending"
    with session.no_autoflush:
        await session.refresh(item)
    assert item.name == "as read"
    item.name = "pending"
    with session.no_autoflush:
        await session.scalar(select(Item).execution_options(populate_existing=True))
    assert item.name == "as read"


async def test_loading_one_attribute_leaves_the_others(session, item):
    session.expire(item, ["description"])
    item.name = "pending"
    assert await session.run_sync(lambda _: item.description) is None
    assert item.name == "pending"


async def test_attributes_that_are_not_loaded_say_so(engine, session):
    session.add(Item(name="chair", comments=[Review(author="Ann", stars=5)]))
    await session.commit()
    item = await session.scalar(select(Item))
    with pytest.raises(MissingGreenlet, match="has not loaded Item.comments"):
        item.comments
    session.expire(item)
    with pytest.raises(MissingGreenlet, match="has not loaded an attribute of Item"):
        item.name
    item = await session.scalar(select(Item).options(selectinload(Item.comments)))
    assert item.name == "chair"
    assert len(item.comments) == 1
    async with AsyncSession(engine) as own:
        item = Item(name="table", comments=[Review(author="Ann", stars=5)])
        own.add(item)
        await own.flush()
        await own.scalars(select(Item))
        assert len(item.comments) == 1
        await own.rollback()
"""

OVERRIDES = """
import pytest
from my_app.database import get_session


@pytest.mark.parametrize("attempt", [1, 2])
async def test_overrides_end_with_the_test(app, attempt):
    assert app.dependency_overrides == {}
    app.dependency_overrides[get_session] = lambda: None
"""


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_lifespan_runs_in_one_task(generate_installed: Generate, runner: str) -> None:
    project = generate_installed(driver="aiosqlite", runner=runner)
    (project.path / "tests/test_lifespan.py").write_text(LIFESPAN)
    output = project.run("pytest", "tests/test_lifespan.py", exit_code=1)
    assert "1 passed, 1 error" in output
    assert "LookupError: not today" in output


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_lifespan_runs_by_the_protocol(generate_installed: Generate, runner: str) -> None:
    project = generate_installed(driver="aiosqlite", runner=runner)
    (project.path / "tests/test_protocol.py").write_text(PROTOCOL)
    assert "4 passed" in project.run("pytest", "tests/test_protocol.py")


def test_overrides_of_dependencies_end_with_the_test(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    (project.path / "tests/test_overrides.py").write_text(OVERRIDES)
    project.run("pytest", "tests/test_overrides.py")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_owners_may_choose_any_name(generate_installed: Generate, isolation: str) -> None:
    project = generate_installed(driver="aiosqlite", isolation=isolation)
    for scope, file in (("session", "conftest.py"), ("function", "test_names.py")):
        fixtures = "".join(FIXTURE.format(scope=scope, name=name) for name in NAMES)
        (project.path / "tests" / file).write_text(f"import pytest\n\n\n{fixtures}")
    with (project.path / "tests/test_names.py").open("a") as tests:
        tests.write(f"async def test_names(session, {', '.join(NAMES)}):\n")
        tests.write(f'    assert {{{", ".join(NAMES)}}} == {{"the owner\'s"}}\n')
    project.run("pytest", "tests/test_names.py", "tests/test_items.py")


@pytest.mark.parametrize("isolation", ["savepoint", "reset"])
def test_reads_are_fresh_but_for_pending_changes(
    generate_installed: Generate, isolation: str
) -> None:
    project = generate_installed(driver="aiosqlite", isolation=isolation)
    (project.path / "tests/test_pending.py").write_text(PENDING)
    project.run("pytest", "tests/test_pending.py")


def test_a_migration_that_fails_ends_the_run(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    migration = project.path / "migrations/versions/0001_items.py"
    broken = 'def upgrade() -> None:\n    op.execute("selekt")'
    migration.write_text(migration.read_text().replace("def upgrade() -> None:", broken))
    output = project.run("pytest", exit_code=pytest.ExitCode.USAGE_ERROR)
    assert "The migrations fail, at" in output
    assert "0001_items.py:" in output
    assert len(output.splitlines()) < 20
