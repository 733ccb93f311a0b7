from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient


@pytest.fixture
def container(app: FastAPI) -> Any:
    return app.container


@pytest.fixture
def client(client: AsyncClient) -> AsyncClient:
    client.base_url = "https://api.example.com/v1"
    return client
