import asyncio

import anyio
import pytest

from wallet.api import get_receipts

pytestmark = pytest.mark.anyio


async def transfer(client, sender, recipient, amount):
    data = {"sender": sender, "recipient": recipient, "amount": amount}
    return (await client.post("/transfers", json=data)).status_code


async def balances(client):
    return (await client.get("/accounts")).json()


@pytest.mark.usefixtures("accounts")
class TestTransfers:
    async def test_transfer(self, client):
        assert await transfer(client, "ann", "bob", 30) == 201
        assert await balances(client) == {"ann": 70, "bob": 80}
        assert (await client.get("/accounts/ann")).json()["sent"] == 1

    async def test_nobody_overdraws(self, client):
        assert await transfer(client, "ann", "bob", 101) == 409
        assert await balances(client) == {"ann": 100, "bob": 50}

    async def test_unknown_recipient_costs_nothing(self, client):
        assert await transfer(client, "ann", "cyd", 30) == 404
        assert await balances(client) == {"ann": 100, "bob": 50}

    @pytest.mark.parametrize("amount", [-1, 0, 501])
    async def test_bad_amount(self, client, amount):
        assert await transfer(client, "ann", "bob", amount) == 422

    async def test_money_is_neither_made_nor_lost(self, client):
        statuses = []

        async def pay(sender, recipient):
            statuses.append(await transfer(client, sender, recipient, 10))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(pay, "ann", "bob")
                group.start_soon(pay, "bob", "ann")

        assert set(statuses) <= {201, 503}
        assert 201 in statuses
        assert sum((await balances(client)).values()) == 150


async def test_receipt(app, client, accounts):
    await transfer(client, "bob", "ann", 20)

    with anyio.fail_after(5):
        await app.state.receipts.join()
    assert (await client.get("/receipts")).json() == ["bob paid 20 to ann"]


async def test_receipt_is_ordered_when_the_money_has_moved(app, client, accounts):
    orders = asyncio.Queue()
    app.dependency_overrides[get_receipts] = lambda: orders

    assert await transfer(client, "ann", "bob", 101) == 409
    assert orders.empty()
    assert await transfer(client, "ann", "bob", 100) == 201
    assert orders.qsize() == 1
