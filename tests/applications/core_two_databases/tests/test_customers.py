import pytest
from sqlalchemy import insert, select

from billing import audit
from billing.databases import main_engine
from billing.main import app
from billing.tables import customers


async def test_add_customer(client, ann):
    async with main_engine.connect() as connection:
        rows = (await connection.execute(select(customers))).all()

    assert rows == [(ann, "ann", 100)]


async def test_one_customer_of_a_name(client, ann):
    response = await client.post("/customers", json={"name": "ann"})

    assert response.status_code == 409
    assert response.json() == {"detail": "ann is a customer"}
    assert [row.details for row in await audit.read("customer added")] == ["ann"]


async def test_list_customers(client):
    async with main_engine.begin() as connection:
        rows = [{"name": name, "credit": 5} for name in ("cyd", "ann", "bob")]
        await connection.execute(insert(customers), rows)

    response = await client.get("/customers")

    assert response.json() == [{"name": name, "due": 0} for name in ("ann", "bob", "cyd")]


@pytest.mark.parametrize(
    "data", [{}, {"name": "ann", "credit": -1}, {"name": "ann", "credit": "x"}]
)
async def test_refuse_customer(client, data):
    assert (await client.post("/customers", json=data)).status_code == 422


async def test_journal_of_starts():
    async with app.router.lifespan_context(app):
        pass

    assert [row.details for row in await audit.read("started")] == [app.version]
