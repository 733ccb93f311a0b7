import pytest
from httpx import ASGITransport, AsyncClient

from billing.create_tables import create_tables
from billing.databases import audit_engine, main_engine
from billing.main import app
from billing.tables import audit_metadata, main_metadata

DATABASES = ((main_engine, main_metadata), (audit_engine, audit_metadata))


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
async def tables(anyio_backend):
    await create_tables()
    yield
    for engine, metadata in DATABASES:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)
        await engine.dispose()


@pytest.fixture(autouse=True)
async def clean(tables):
    yield
    for engine, metadata in DATABASES:
        async with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.execute(table.delete())


@pytest.fixture
async def client():
    async with AsyncClient(transport=ASGITransport(app), base_url="http://billing") as client:
        yield client


@pytest.fixture
async def ann(client):
    response = await client.post("/customers", json={"name": "ann", "credit": 100})
    return response.json()
