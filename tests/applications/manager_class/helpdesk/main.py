"""A help desk. A manager class owns the engine; the lifespan initializes and closes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from helpdesk.database import db, get_database_url
from helpdesk.routes import router


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    db.init(get_database_url(), pool_pre_ping=True)
    yield
    await db.close()


app = FastAPI(title="Helpdesk", lifespan=lifespan)
app.include_router(router)
