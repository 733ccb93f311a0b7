from collections.abc import AsyncGenerator, Generator

import pytest
import pytest_asyncio
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.core.db import get_session
from app.main import app
from app.models import Course, Enrolment, Student


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def engine() -> AsyncGenerator[AsyncEngine, None]:
    # Without a pool, so that each test can use it on its own event loop.
    engine = create_async_engine(settings.SQLALCHEMY_DATABASE_URI, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.drop_all)
        await connection.run_sync(SQLModel.metadata.create_all)
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.drop_all)


@pytest.fixture
async def db(engine: AsyncEngine) -> AsyncGenerator[AsyncSession, None]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session
        await session.rollback()
        for model in (Enrolment, Student, Course):
            await session.exec(delete(model))
        await session.commit()


@pytest.fixture(autouse=True)
def override_session(engine: AsyncEngine) -> Generator[None, None, None]:
    async def get_test_session() -> AsyncGenerator[AsyncSession, None]:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            yield session

    app.dependency_overrides[get_session] = get_test_session
    yield
    app.dependency_overrides.clear()


@pytest.fixture
async def client(db: AsyncSession) -> AsyncGenerator[AsyncClient, None]:
    base_url = f"http://test{settings.API_PREFIX}"
    async with AsyncClient(transport=ASGITransport(app=app), base_url=base_url) as client:
        yield client


@pytest.fixture
def sync_client(db: AsyncSession) -> Generator[TestClient, None, None]:
    with TestClient(app, base_url=f"http://test{settings.API_PREFIX}") as client:
        yield client
