import pytest
from fastapi.testclient import TestClient

from wallet.main import create_app
from wallet.models import Account


@pytest.mark.anyio
async def test_open_account(app, client):
    response = await client.post("/accounts", json={"owner": "ann"})

    assert response.status_code == 201
    async with app.state.session_factory() as session:
        account = await session.get(Account, response.json()["id"])
    assert (account.owner, account.balance) == ("ann", 0)


@pytest.mark.anyio
async def test_one_account_each(client, accounts):
    assert (await client.post("/accounts", json={"owner": "ann"})).status_code == 409
    assert await get_balances(client) == {"ann": 100, "bob": 50}


@pytest.mark.anyio
async def test_get_account(client, accounts):
    assert (await client.get("/accounts/bob")).json() == {"balance": 50, "sent": 0}
    assert (await client.get("/accounts/cyd")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("data", [{}, {"owner": ""}, {"owner": "ann", "balance": -1}])
async def test_refuse_bad_accounts(client, data):
    assert (await client.post("/accounts", json=data)).status_code == 422


async def get_balances(client):
    return (await client.get("/accounts")).json()


def test_restart_keeps_accounts(database, settings):
    with TestClient(create_app(settings)) as client:
        client.post("/accounts", json={"owner": "ann", "balance": 7})
    with TestClient(create_app(settings)) as client:
        assert client.get("/accounts").json() == {"ann": 7}
