import anyio
import pytest


async def journal(client, kind):
    response = await client.get("/journal", params={"kind": kind})
    return [event["details"] for event in response.json()]


@pytest.mark.usefixtures("ann")
class TestInvoice:
    async def test_write(self, client):
        lines = {"Paint": 30, "Brush": 12}
        response = await client.post("/customers/ann/invoices", json=lines)

        assert response.status_code == 201
        assert (await client.get(f"/invoices/{response.json()}")).json() == {
            "customer": "ann",
            "paid": False,
            "lines": lines,
        }
        assert (await client.get("/customers")).json() == [{"name": "ann", "due": 42}]

    async def test_too_high(self, client):
        lines = {"Paint": 30, "House": 1000}
        response = await client.post("/customers/ann/invoices", json=lines)

        assert response.status_code == 409
        assert (await client.get("/customers")).json() == [{"name": "ann", "due": 0}]
        assert await journal(client, "invoice refused") == ["ann has no credit for House"]
        assert await journal(client, "invoice written") == []

    async def test_many_at_once(self, client):
        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(write, client, f"Paint {n}")

        assert len(await journal(client, "invoice written")) == 4


async def write(client, text, amount=10):
    response = await client.post("/customers/ann/invoices", json={text: amount})
    assert response.status_code == 201
    return response.json()


async def test_pay_once(client, ann):
    invoice_id = await write(client, "Paint")

    assert (await client.post(f"/invoices/{invoice_id}/payment")).status_code == 204
    assert (await client.post(f"/invoices/{invoice_id}/payment")).status_code == 409
    assert (await client.get(f"/invoices/{invoice_id}")).json()["paid"] is True
    assert await journal(client, "invoice paid") == [str(invoice_id)]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/invoices/987654"), ("POST", "/customers/bob/invoices")]
)
async def test_unknown(client, method, path):
    response = await client.request(method, path, json={"Paint": 1})

    assert response.status_code == 404
    assert await journal(client, "invoice refused") == []
