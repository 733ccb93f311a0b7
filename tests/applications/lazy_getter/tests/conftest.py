import asyncio

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import create_async_engine

from bookmarks.cli import main
from bookmarks.config import get_settings
from bookmarks.main import app
from bookmarks.models import Base


async def drop_tables():
    engine = create_async_engine(get_settings().sqlalchemy_database_uri)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


@pytest.fixture(autouse=True)
def tables():
    asyncio.run(drop_tables())
    main(["create-tables"])
    yield
    asyncio.run(drop_tables())


@pytest.fixture
def client(tables):
    with TestClient(app) as client:
        yield client


@pytest.fixture
def ann(client):
    """A client that is logged in."""
    client.post("/users", json={"name": "ann"})
    client.headers["X-User"] = "ann"
    return client
