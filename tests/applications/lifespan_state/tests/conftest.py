import asyncio

import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from wallet.main import create_app
from wallet.models import Base
from wallet.settings import Settings


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def settings():
    return Settings(max_transfer=500)


@pytest.fixture
def database(settings):
    """An empty database; the application makes the tables when it starts."""

    async def drop_tables():
        engine = create_async_engine(settings.database_url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        await engine.dispose()

    asyncio.run(drop_tables())
    yield
    asyncio.run(drop_tables())


@pytest.fixture
async def app(database, settings):
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://wallet.test") as client:
        yield client


@pytest.fixture
async def accounts(client):
    for owner, balance in (("ann", 100), ("bob", 50)):
        response = await client.post("/accounts", json={"owner": owner, "balance": balance})
        assert response.status_code == 201
