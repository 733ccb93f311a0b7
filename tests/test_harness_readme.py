"""What the harness's README shows, tried: factories, shared data, a websocket and events."""

import os
import re
import textwrap

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import GeneratedProject
from .pythons import UV

FACTORIES = """
import factory
from factory.alchemy import SQLAlchemyModelFactory
from my_app.models import AuditEntry, Item
from polyfactory.factories.sqlalchemy_factory import SQLAlchemyFactory
from sqlalchemy.orm import scoped_session, sessionmaker

factory_session = scoped_session(sessionmaker())


class ItemFactory(SQLAlchemyFactory[Item]):
    __set_primary_key__ = False


class EntryFactory(SQLAlchemyModelFactory):
    class Meta:
        model = AuditEntry
        sqlalchemy_session = factory_session

    action = "created"
    item_name = factory.Sequence("item {}".format)
"""
CONFTEST = """
import pytest
from polyfactory.factories.sqlalchemy_factory import SQLAlchemyFactory
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.session import _sessions

from .factories import factory_session


{shown}

def pytest_sessionfinish() -> None:
    assert not [session for session in _sessions.values() if session.in_transaction()]
"""
TESTS = """
import pytest
from my_app.models import AuditEntry, Item
from sqlalchemy import func, select
from tests.harness.errors import CommitFirstError

from .factories import EntryFactory, ItemFactory


async def test_polyfactory(client, session):
    chair = await ItemFactory.create_async(name="chair")
    await ItemFactory.create_batch_async(2)
    assert chair in session
    names = [item["name"] for item in (await client.get("/items")).json()]
    assert len(names) == 3
    assert "chair" in names
    assert (await client.post("/items", json={"name": "chair"})).status_code == 409
    assert (await client.post("/items", json={"name": "table"})).status_code == 201
    assert await session.scalar(select(func.count()).select_from(Item)) == 4


async def test_factory_boy(client, session, session_factory):
    entries = EntryFactory.create_batch(2)
    assert all(entry in session for entry in entries)
    with pytest.raises(CommitFirstError, match="AuditEntry"):
        await client.get("/items")
    await session.commit()
    await client.get("/items")
    async with session_factory() as other:
        assert (await other.scalars(select(AuditEntry.item_name))).all() == [
            entry.item_name for entry in entries
        ]


@pytest.mark.real_commits
async def test_real_commits(client):
    await ItemFactory.create_async(name="chair")
    assert [item["name"] for item in (await client.get("/items")).json()] == ["chair"]


def test_plain():
    assert ItemFactory.build(name="chair").name == "chair"


async def test_nothing_is_left(session):
    assert (await session.scalars(select(Item))).all() == []
    assert (await session.scalars(select(AuditEntry))).all() == []
"""
OTHERS = """
import pytest
from fastapi import WebSocket
from fastapi.responses import StreamingResponse
from my_app.main import app as my_app
from my_app.models import Item as User
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


@my_app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    await socket.send_text((await socket.receive_json())["text"])


@my_app.get("/events")
async def send_event():
    return StreamingResponse(iter(["data: hello\\n\\n"]), media_type="text/event-stream")


async def test_talk(client):
{talk}

{users}
"""
SHARED = """
@pytest.mark.parametrize("number", range(2))
async def test_users(users, session, number):
    assert await session.scalar(select(func.count()).select_from(User)) == 2
    await session.execute(delete(User))
    await session.commit()
"""
LIBRARIES = "polyfactory", "factory-boy", "faker"


def shown(project: GeneratedProject) -> list[str]:
    """Return what the harness's README shows: a conversation, shared data, factories."""
    readme = (project.path / "tests/harness/README.md").read_text()
    blocks = re.findall(r"^  ```python\n(.*?)^  ```", readme, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


@pytest.mark.parametrize(
    ("driver", "isolation", "loop_scope", "runner"),
    [
        ("asyncpg", "savepoint", "session", "pytest-asyncio"),
        ("asyncpg", "clone", "module", "anyio"),
        ("asyncpg", "reset", "class", "anyio"),
        ("aiosqlite", "savepoint", "function", "anyio"),
        ("asyncmy", "savepoint", "module", "pytest-asyncio"),
        ("asyncmy", "create_drop", "function", "pytest-asyncio"),
    ],
)
def test_the_harness_s_readme(
    generate_installed: Generate, driver: str, isolation: str, loop_scope: str, runner: str
) -> None:
    project = generate_installed(
        driver=driver, isolation=isolation, loop_scope=loop_scope, runner=runner
    )
    if BACKENDS[driver] == "mysql":
        project.variables["TEST_DATABASE_URL"] = require_server("mysql")
    project.run(UV, "pip", "install", "--quiet", "--target", "plugins", *LIBRARIES)
    project.variables["PYTHONPATH"] = f"src{os.pathsep}plugins"
    tests = project.path / "tests"
    talk, *users, factories = shown(project)
    assert len(users) == (isolation != "create_drop" and loop_scope != "function")
    (tests / "conftest.py").write_text(CONFTEST.format(shown=factories))
    (tests / "factories.py").write_text(FACTORIES)
    (tests / "test_factories.py").write_text(TESTS)
    shared = "".join([*users, SHARED]) if users else ""
    others = OTHERS.format(talk=textwrap.indent(talk, "    "), users=shared)
    (tests / "test_others.py").write_text(others)
    output = project.run("pytest", "tests/test_factories.py", "tests/test_others.py")
    assert f"{8 if users else 6} passed" in output
