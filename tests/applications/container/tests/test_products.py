import pytest
from httpx import ASGITransport, AsyncClient

from shop.containers import Container, database_url
from shop.main import app
from shop.models import Product
from shop.services import NotFound

PEN = {"sku": "PEN-1", "name": "Pen", "price": "1.20", "stock": 5}


async def test_add_product(client: AsyncClient, container: Container) -> None:
    response = await client.post("/products", json=PEN)

    assert response.status_code == 201
    assert (await container.catalogue().get("PEN-1")).name == "Pen"


async def test_add_product_twice(client: AsyncClient) -> None:
    await client.post("/products", json=PEN)

    response = await client.post("/products", json=PEN | {"name": "Another pen"})

    assert response.status_code == 409
    assert [product["name"] for product in (await client.get("/products")).json()] == ["Pen"]


@pytest.mark.parametrize("change", [{"sku": "pen 1"}, {"price": "-1"}, {"price": "1.001"}])
async def test_refuse_product(client: AsyncClient, change: dict[str, str]) -> None:
    assert (await client.post("/products", json=PEN | change)).status_code == 422


async def test_get_product(client: AsyncClient, container: Container) -> None:
    await container.catalogue().add(Product(**PEN | {"price": 2}))

    assert (await client.get("/products/PEN-1")).json()["price"] == "2.00"
    assert (await client.get("/products/PEN-2")).status_code == 404


async def test_service_without_product(container: Container) -> None:
    with pytest.raises(NotFound, match="PEN-2"):
        await container.catalogue().get("PEN-2")


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("evil.example", 400)])
async def test_trusted_hosts(host: str, status: int) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url=f"http://{host}") as client:
        assert (await client.get("/v1/products")).status_code == status


def test_database_url_needs_a_password() -> None:
    db = {"url": None, "host": "db", "port": 5432, "user": "shop", "password": "", "name": "shop"}

    with pytest.raises(ValueError, match="DB_PASSWORD"):
        database_url(db)
    assert str(database_url(db | {"password": "secret"})) == (
        "postgresql+asyncpg://shop:***@db:5432/shop"
    )
