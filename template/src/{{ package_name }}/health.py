"""Is the process alive, and can it reach its database?"""

import logging
from typing import Literal

from fastapi import APIRouter, HTTPException, status
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from .database import SessionDep
from .errors import problems

router = APIRouter(prefix="/health", tags=["health"])

logger = logging.getLogger(__name__)


@router.get("/live")
async def check_live() -> dict[str, Literal["ok"]]:
    """Answer without touching anything: a restart would help nobody while this works."""
    return {"status": "ok"}


@router.get("/ready", responses=problems(status.HTTP_503_SERVICE_UNAVAILABLE))
async def check_ready(session: SessionDep) -> dict[str, Literal["ok"]]:
    """Ask the database; 503 while it cannot be reached, and the log says why."""
    try:
        await session.execute(select(1))
    except (SQLAlchemyError, OSError) as error:
        logger.warning("The database cannot be reached: %s", error)
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "database unavailable") from error
    return {"status": "ok"}
