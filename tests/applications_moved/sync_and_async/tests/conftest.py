from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from metering import sync_db
from metering.admin import require_admin
from metering.main import app
from metering.models import Meter

ROOT = Path(__file__).parents[1]


@pytest.fixture
def async_session(session: AsyncSession) -> AsyncSession:
    return session


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


@pytest.fixture
def admin() -> Iterator[TestClient]:
    app.dependency_overrides[require_admin] = lambda: None
    yield TestClient(app)
    del app.dependency_overrides[require_admin]
