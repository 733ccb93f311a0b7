from collections.abc import AsyncGenerator, Generator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import AsyncClient
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.core.db import get_session


@pytest.fixture
def db(session: AsyncSession) -> AsyncSession:
    return session


@pytest.fixture
def client(client: AsyncClient) -> AsyncClient:
    client.base_url = f"http://test{settings.API_PREFIX}"
    return client


@pytest.fixture
def sync_client(app: FastAPI) -> Generator[TestClient, None, None]:
    # It runs on a loop of its own, where connections of the application's pool do not work.
    engine = create_async_engine(settings.SQLALCHEMY_DATABASE_URI, poolclass=NullPool)

    async def get_test_session() -> AsyncGenerator[AsyncSession, None]:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            yield session

    app.dependency_overrides[get_session] = get_test_session
    with TestClient(app, base_url=f"http://test{settings.API_PREFIX}") as client:
        yield client
