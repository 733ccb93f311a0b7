import pytest
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from metering.models import Meter, Reading

pytestmark = pytest.mark.asyncio(loop_scope="session")

READINGS = [
    {"at": "2024-03-01T06:00:00", "value": 10.5},
    {"at": "2024-03-01T18:00:00", "value": 12.0},
]


async def test_register(client: AsyncClient, async_session: AsyncSession) -> None:
    assert (await client.post("/meters", json={"serial": "M-1"})).status_code == 201
    assert (await async_session.scalars(select(Meter.serial))).all() == ["M-1"]


async def test_register_twice(client: AsyncClient, meter: Meter) -> None:
    assert (await client.post("/meters", json={"serial": "M-1"})).status_code == 409
    assert (await client.get("/meters")).json() == ["M-1"]


async def test_unknown_meter(client: AsyncClient) -> None:
    assert (await client.get("/meters/M-2/readings")).status_code == 404


async def test_send_readings(client: AsyncClient, meter: Meter) -> None:
    assert (await client.post("/meters/M-1/readings", json=READINGS)).status_code == 201
    assert (await client.get("/meters/M-1/readings")).json() == READINGS


@pytest.mark.parametrize(
    ("since", "count"), [("2024-03-01T00:00", 2), ("2024-03-01T12:00", 1), ("2024-03-02T00:00", 0)]
)
async def test_readings_since(client: AsyncClient, meter: Meter, since: str, count: int) -> None:
    await client.post("/meters/M-1/readings", json=READINGS)

    response = await client.get("/meters/M-1/readings", params={"since": since})

    assert len(response.json()) == count


async def test_falling_readings(
    client: AsyncClient, async_session: AsyncSession, meter: Meter
) -> None:
    falling = [*READINGS, {"at": "2024-03-02T06:00:00", "value": 11.9}]

    assert (await client.post("/meters/M-1/readings", json=falling)).status_code == 422
    assert (await async_session.scalars(select(Reading))).all() == []
