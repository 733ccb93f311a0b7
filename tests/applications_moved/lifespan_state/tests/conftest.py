import httpx
import pytest

from wallet.main import create_app
from wallet.settings import Settings


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def settings():
    return Settings(max_transfer=500)


@pytest.fixture
async def app(settings):
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


@pytest.fixture
def database(harness_database):
    """The tests' own database."""
