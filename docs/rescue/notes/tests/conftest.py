import asyncio

import pytest
from httpx2 import ASGITransport, AsyncClient

from app.database import engine, get_session, new_session
from app.main import app
from app.models import Base


async def create_tables():
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture(scope="session", autouse=True)
def tables():
    asyncio.run(create_tables())


@pytest.fixture
async def session():
    async with new_session() as session:
        yield session


@pytest.fixture
async def client(session):
    app.dependency_overrides[get_session] = lambda: session
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client
    app.dependency_overrides.clear()
