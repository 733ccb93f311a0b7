"""The fixtures that tests use. Each can be overridden in tests/conftest.py or in a test module."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import ORMExecuteState, Session
from starlette.types import Message, Receive, Scope, Send

from .answers import LOOP_SCOPE
from .application import get_app, get_engine
from .database.lifecycle import Database
from .errors import CommitFirstError, HarnessError


@pytest.fixture(scope=LOOP_SCOPE)
async def engine(harness_database: Database) -> AsyncIterator[AsyncEngine]:
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

    def get(self, *args: Any, populate_existing: bool | None = None, **kwargs: Any) -> Any:
        """Read the row again, also if the identity map has it."""
        if populate_existing is None:
            populate_existing = self.may_refresh(flushes=True)
        return super().get(*args, populate_existing=populate_existing, **kwargs)

    def may_refresh(self, *, flushes: bool) -> bool:
        """Tell whether a read that `flushes` first, if the session does, loses no change."""
        flushes = flushes and self.autoflush and not self._flushing
        return flushes or not any(map(self.is_modified, self.dirty))


@event.listens_for(FreshSession, "do_orm_execute")
def refresh(reading: ORMExecuteState) -> None:
    """Let a read renew the objects that the session has already."""
    session, options = reading.session, reading.execution_options
    if reading.is_select and not reading.is_column_load and "populate_existing" not in options:
        flushes = options.get("autoflush", True) and not reading.is_relationship_load
        if isinstance(session, FreshSession) and session.may_refresh(flushes=flushes):
            reading.update_execution_options(populate_existing=True)


@pytest.fixture(scope=LOOP_SCOPE)
def session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make sessions for tests; attributes stay loaded after a commit, so none needs hidden I/O."""
    return async_sessionmaker(engine, sync_session_class=FreshSession, expire_on_commit=False)


@pytest.fixture
def harness_sessions() -> list[AsyncSession]:
    """The sessions that the harness has made for the test."""
    return []


@pytest.fixture
async def session(
    harness_isolation: None,
    session_factory: async_sessionmaker[AsyncSession],
    harness_sessions: list[AsyncSession],
) -> AsyncIterator[AsyncSession]:
    """The test's own session. Commit what the application is to see, as in production."""
    async with session_factory() as session:
        harness_sessions.append(session)
        yield session


@pytest.fixture
async def app(
    harness_isolation: None, harness_sessions: list[AsyncSession]
) -> AsyncIterator[FastAPI]:
    """The application, started before the test and shut down after it, on the test's loop."""
    app = get_app()
    overrides = app.dependency_overrides.copy()
    try:
        async with running(app):
            yield app
            # To shut down closes the pool: what is taken from it would be left open for ever.
            for session in harness_sessions:
                await session.close()
    finally:
        app.dependency_overrides = overrides


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Start `app` and shut it down by the lifespan protocol of ASGI, in one task, as servers do.

    So its middleware is told, its requests have the state of its lifespan, and what a lifespan
    opens it may have to close in the same task (a fixture has two): a group of tasks, for example.

    Raises:
        HarnessError: it has refused to start or to shut down, without an error of its own.
    """
    state: dict[str, Any] = {}
    to_app, from_app = asyncio.Queue[Message](), asyncio.Queue[Message]()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.create_task(app(scope, to_app.get, from_app.put), name=__package__)
    over: Message = {"type": "over"}  # what it has to say, or to raise, it has said by then
    task.add_done_callback(lambda _: from_app.put_nowait(over))

    async def tell(message: str) -> None:
        to_app.put_nowait({"type": message})
        answer = await from_app.get()
        if answer["type"] == f"{message}.failed" or answer is over:
            await task  # which raises what has failed
        if answer["type"] == f"{message}.failed":
            raise HarnessError(f"The application says {message}.failed: {answer.get('message')}")

    try:
        await tell("lifespan.startup")
    except BaseException:
        task.cancel()  # if it is this that was cancelled
        raise
    middleware = app.middleware_stack or app.build_middleware_stack()

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", state.copy())
        await middleware(scope, receive, send)

    app.middleware_stack = with_state  # so the requests of any client have it
    try:
        yield
    finally:
        app.middleware_stack = middleware
        if not task.done():  # as one is that knows of no lifespan
            await tell("lifespan.shutdown")
        await task


@pytest.fixture
async def client(
    app: FastAPI, harness_sessions: list[AsyncSession]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application in process; its errors reach the test as they are."""

    async def check(_: httpx.Request) -> None:
        for session in harness_sessions:
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
