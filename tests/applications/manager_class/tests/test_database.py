import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from helpdesk.database import DatabaseManager, db, get_database_url
from helpdesk.main import app
from helpdesk.models import Project


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://app:secret@db/helpdesk", "postgresql+asyncpg://app:secret@db/helpdesk"),
        ("postgresql://db/helpdesk", "postgresql+asyncpg://db/helpdesk"),
        ("sqlite+aiosqlite:///helpdesk.db", "sqlite+aiosqlite:///helpdesk.db"),
    ],
)
def test_database_url(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    monkeypatch.setenv("DATABASE_URL", given)

    assert get_database_url() == used


def test_lifespan() -> None:
    with TestClient(app) as client:
        assert db.engine.url.render_as_string(hide_password=False) == get_database_url()
        assert client.get("/openapi.json").status_code == 200
    with pytest.raises(RuntimeError, match="not initialized"):
        _ = db.engine


@pytest.mark.asyncio
async def test_session_rolls_back(database: DatabaseManager) -> None:
    async def fail() -> None:
        async with database.session() as session:
            session.add(Project(key="WEB"))
            await session.flush()
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        await fail()
    async with database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM projects")) == 0
