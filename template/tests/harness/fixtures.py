"""The fixtures that tests use. Each can be overridden in tests/conftest.py or in a test module."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from .answers import LOOP_SCOPE
from .application import get_app, get_engine
from .lifecycle import Database


@pytest.fixture(scope=LOOP_SCOPE)
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The application's engine.

    The engine may be used on any loop, its pooled connections only on the one that opened them:
    so they are closed as the last thing on each loop.
    """
    engine = get_engine()
    yield engine
    await engine.dispose()


class FreshSession(Session):
    """A session whose reads show what the database holds now, not what it saw before.

    The test and the application write to the same rows through different sessions. Without
    `populate_existing` the test would go on seeing the attributes that it loaded first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, execution_options={"populate_existing": True}, **kwargs)

    def get(self, *args: Any, populate_existing: bool | None = None, **kwargs: Any) -> Any:
        """Read the row again, also if the identity map has it."""
        return super().get(*args, populate_existing=populate_existing in (None, True), **kwargs)


@pytest.fixture(scope=LOOP_SCOPE)
def session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make sessions for tests; attributes stay loaded after a commit, so none needs hidden I/O."""
    return async_sessionmaker(engine, sync_session_class=FreshSession, expire_on_commit=False)


@pytest.fixture
def sessions() -> list[AsyncSession]:
    """The sessions that the harness has made for the test."""
    return []


@pytest.fixture
async def session(
    isolation: None,
    session_factory: async_sessionmaker[AsyncSession],
    sessions: list[AsyncSession],
) -> AsyncIterator[AsyncSession]:
    """The test's own session. Commit what the application is to see, as in production."""
    async with session_factory() as session:
        sessions.append(session)
        yield session


@pytest.fixture
async def app(isolation: None, sessions: list[AsyncSession]) -> AsyncIterator[FastAPI]:
    """The application, started before the test and shut down after it, on the test's loop."""
    app = get_app()
    async with app.router.lifespan_context(app):
        yield app
        # To shut down closes the pool: what is taken from it would be left open for ever.
        for session in sessions:
            await session.close()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application in process; its errors reach the test as they are."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
