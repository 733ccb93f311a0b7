from collections.abc import AsyncIterator

import pytest_asyncio
from httpx import ASGITransport, AsyncClient

from helpdesk.database import DatabaseManager, db, get_database_url
from helpdesk.main import app


@pytest_asyncio.fixture
async def database() -> AsyncIterator[DatabaseManager]:
    db.init(get_database_url())
    yield db
    await db.close()


@pytest_asyncio.fixture
async def client(database: DatabaseManager) -> AsyncIterator[AsyncClient]:
    # The lifespan does not run here; it would do what the fixture "database" does.
    async with AsyncClient(transport=ASGITransport(app), base_url="http://testserver") as client:
        yield client
