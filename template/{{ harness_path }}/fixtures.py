"""The fixtures that tests use. Each can be overridden in tests/conftest.py or in a test module."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from .answers import LOOP_SCOPE
from .application import get_app, get_engine
from .database.lifecycle import Database
from .running.lifespan import running
from .running.session import FreshSession, refuse_pending
from .watch.runner import async_fixture


@async_fixture(LOOP_SCOPE)
async def engine(harness_database: Database) -> AsyncIterator[AsyncEngine]:
    """The application's engine.

    The engine may be used on any loop, its pooled connections only on the one that opened them:
    so they are closed as the last thing on each loop.
    """
    engine = get_engine()
    yield engine
    await engine.dispose()


@pytest.fixture(scope=LOOP_SCOPE)
def session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make sessions for tests; attributes stay loaded after a commit, so none needs hidden I/O."""
    return async_sessionmaker(engine, sync_session_class=FreshSession, expire_on_commit=False)


@pytest.fixture
def harness_sessions() -> list[AsyncSession]:
    """The test's own session, once it is made: neither `app` nor `client` need ask for it."""
    return []


@async_fixture()
async def session(
    harness_isolation: None,
    session_factory: async_sessionmaker[AsyncSession],
    harness_sessions: list[AsyncSession],
) -> AsyncIterator[AsyncSession]:
    """The test's own session. Commit what the application is to see, as in production."""
    async with session_factory() as session:
        harness_sessions.append(session)
        yield session


@async_fixture()
async def app(
    harness_isolation: None, harness_sessions: list[AsyncSession]
) -> AsyncIterator[FastAPI]:
    """The application, started before the test and shut down after it, on the test's loop."""
    app = get_app()
    overrides = app.dependency_overrides.copy()
    try:
        async with running(app):
            yield app
            # Shutting down disposes of the pool; what is checked out would outlive it.
            for session in harness_sessions:
                await session.close()
    finally:
        app.dependency_overrides = overrides


@async_fixture()
async def client(
    app: FastAPI, harness_sessions: list[AsyncSession]
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that calls the application in process; its errors reach the test as they are."""

    async def check(_: httpx2.Request) -> None:
        for session in harness_sessions:
            refuse_pending(session)

    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://test",
        event_hooks={"request": [check]},
    ) as client:
        yield client
