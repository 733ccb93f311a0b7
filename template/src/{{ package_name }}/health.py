"""Is the process alive, and can it reach its database?"""

from typing import Literal

from fastapi import APIRouter, HTTPException, status
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from .database import SessionDep

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, Literal["ok"]]:
    """Answer without touching anything: a restart would help nobody while this works."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(session: SessionDep) -> dict[str, Literal["ok"]]:
    """Ask the database; 503 while it cannot be reached."""
    try:
        await session.execute(select(1))
    except (SQLAlchemyError, OSError) as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "database unavailable") from error
    return {"status": "ok"}
