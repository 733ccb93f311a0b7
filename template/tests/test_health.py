"""The endpoints that a supervisor asks."""

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession


async def test_live(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "ok"}


async def test_ready(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/health/ready")).json() == {"status": "ok"}


async def test_not_ready_without_a_database(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(AsyncSession, "execute", refuse)
    assert (await client.get("/health/ready")).status_code == 503
