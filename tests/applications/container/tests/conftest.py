from collections.abc import AsyncIterator

import pytest
from httpx import ASGITransport, AsyncClient

from shop.containers import Container
from shop.main import app
from shop.models import Base


@pytest.fixture(scope="session")
def container() -> Container:
    return app.container


@pytest.fixture(scope="session", autouse=True)
async def tables(container: Container) -> AsyncIterator[None]:
    engine = container.engine()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


@pytest.fixture(autouse=True)
async def empty_tables(container: Container) -> AsyncIterator[None]:
    yield
    async with container.session_factory().begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            await session.execute(table.delete())


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url="https://api.example.com/v1") as client:
        yield client
