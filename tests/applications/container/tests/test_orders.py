import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest
from httpx import AsyncClient

from shop.containers import Container
from shop.models import Product
from shop.services import PaymentDeclined, Payments


class NoMoney(Payments):
    async def charge(self, customer: str, amount: Decimal) -> None:
        raise PaymentDeclined(f"{customer} cannot pay {amount}")


@pytest.fixture(autouse=True)
async def products(container: Container) -> None:
    catalogue = container.catalogue()
    await catalogue.add(Product(sku="INK", name="Ink", price=Decimal("4.50"), stock=2))
    await catalogue.add(Product(sku="PEN", name="Pen", price=Decimal("1.20"), stock=10))


@pytest.fixture
def no_money(container: Container) -> Iterator[None]:
    with container.payments.override(NoMoney()):
        yield


async def stock(container: Container) -> dict[str, int]:
    return {product.sku: product.stock for product in await container.catalogue().list()}


class TestPlaceOrder:
    async def test_order(self, client: AsyncClient, container: Container) -> None:
        data = {"customer": "ann", "lines": {"INK": 1, "PEN": 3}}
        response = await client.post("/orders", json=data)

        assert response.status_code == 201
        assert response.json()["total"] == "8.10"
        assert await stock(container) == {"INK": 1, "PEN": 7}

    @pytest.mark.parametrize(
        ("lines", "status"), [({"INK": 1, "PEN": 11}, 409), ({"INK": 1, "QUILL": 1}, 404)]
    )
    async def test_all_or_nothing(
        self, client: AsyncClient, container: Container, lines: dict[str, int], status: int
    ) -> None:
        response = await client.post("/orders", json={"customer": "ann", "lines": lines})

        assert response.status_code == status
        assert await stock(container) == {"INK": 2, "PEN": 10}
        assert await container.orders().of_customer("ann") == []

    @pytest.mark.usefixtures("no_money")
    async def test_declined(self, client: AsyncClient, container: Container) -> None:
        response = await client.post("/orders", json={"customer": "ann", "lines": {"PEN": 1}})

        assert response.status_code == 402
        assert response.json() == {"detail": "ann cannot pay 1.20"}
        assert await stock(container) == {"INK": 2, "PEN": 10}

    async def test_two_at_once(self, client: AsyncClient) -> None:
        orders = [{"customer": customer, "lines": {"PEN": 1}} for customer in ("ann", "bob")]
        await asyncio.gather(*[client.post("/orders", json=order) for order in orders])

        for customer in ("ann", "bob"):
            response = await client.get("/orders", params={"customer": customer})
            assert [order["total"] for order in response.json()] == ["1.20"]


async def test_cancel(client: AsyncClient, container: Container) -> None:
    order = await container.orders().place("ann", {"INK": 2})

    assert (await client.delete(f"/orders/{order.id}")).status_code == 204
    assert await stock(container) == {"INK": 2, "PEN": 10}
    assert (await client.delete(f"/orders/{order.id}")).status_code == 404
