"""The fixtures that tests use. Each can be overridden in tests/conftest.py or in a test module."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from .answers import LOOP_SCOPE
from .application import get_app, get_engine
from .errors import CommitFirstError
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
    overrides = app.dependency_overrides.copy()
    try:
        async with running(app):
            yield app
            # To shut down closes the pool: what is taken from it would be left open for ever.
            for session in sessions:
                await session.close()
    finally:
        app.dependency_overrides = overrides


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Start `app` and shut it down, in one task, as servers do: a fixture has two.

    What a lifespan opens, it may have to close in the same task: a group of tasks, for example.
    """
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        try:
            async with app.router.lifespan_context(app):
                started.set()
                await stop.wait()
        finally:
            started.set()  # also if it could not start

    task = asyncio.create_task(live(), name=__package__)
    await started.wait()
    try:
        if not task.done():
            yield
    finally:
        stop.set()
        await task


@pytest.fixture
async def client(app: FastAPI, sessions: list[AsyncSession]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application in process; its errors reach the test as they are."""

    async def check(_: httpx.Request) -> None:
        for session in sessions:
            refuse_pending(session)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://test",
        event_hooks={"request": [check]},
    ) as client:
        yield client


def refuse_pending(session: AsyncSession) -> None:
    """Refuse that the application is called while `session` has yet to write something.

    Raises:
        CommitFirstError: it has.
    """
    changed = (instance for instance in session.dirty if session.is_modified(instance))
    if pending := [*session.new, *session.deleted, *changed]:
        names = ", ".join(sorted({type(instance).__name__ for instance in pending}))
        raise CommitFirstError(
            f"Commit first: the test's session holds changes ({names}) that the application does"
            " not see. If it is not to see them, expunge them, or roll back."
        )
