from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from metering import db, sync_db
from metering.admin import require_admin
from metering.main import app
from metering.models import Base, Meter

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def schema() -> Iterator[None]:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "alembic"))
    command.upgrade(config, "head")
    yield
    command.downgrade(config, "base")
    sync_db.engine.dispose()


@pytest.fixture(autouse=True)
def empty_tables(schema: None) -> Iterator[None]:
    yield
    with sync_db.engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest_asyncio.fixture(scope="session", autouse=True)
async def dispose_engine(schema: None) -> AsyncIterator[None]:
    yield
    await db.engine.dispose()


@pytest_asyncio.fixture
async def async_session() -> AsyncIterator[AsyncSession]:
    async with db.AsyncSessionLocal() as session:
        yield session


@pytest.fixture
def sync_session() -> Iterator[Session]:
    with sync_db.SessionLocal() as session:
        yield session


@pytest.fixture
def meter(sync_session: Session) -> Meter:
    meter = Meter(serial="M-1")
    sync_session.add(meter)
    sync_session.commit()
    return meter


@pytest_asyncio.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://metering") as client:
        yield client


@pytest.fixture
def admin() -> Iterator[TestClient]:
    app.dependency_overrides[require_admin] = lambda: None
    yield TestClient(app)
    del app.dependency_overrides[require_admin]
