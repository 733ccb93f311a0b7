import pytest
from fastapi.testclient import TestClient
from httpx2 import AsyncClient
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings


@pytest.fixture
def db(session: AsyncSession) -> AsyncSession:
    return session


@pytest.fixture
def client(client: AsyncClient) -> AsyncClient:
    client.base_url = f"http://test{settings.API_PREFIX}"
    return client


@pytest.fixture
def sync_client(test_client: TestClient) -> TestClient:
    test_client.base_url = f"http://test{settings.API_PREFIX}"
    return test_client
