import pytest
from fastapi.testclient import TestClient

from bookmarks.main import app


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client


@pytest.fixture
def ann(client):
    """A client that is logged in."""
    client.post("/users", json={"name": "ann"})
    client.headers["X-User"] = "ann"
    return client
