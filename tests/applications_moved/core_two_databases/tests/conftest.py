import pytest


@pytest.fixture
async def ann(client):
    response = await client.post("/customers", json={"name": "ann", "credit": 100})
    return response.json()
