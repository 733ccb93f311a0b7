"""Bookmarks. Cached functions make the engine when it is needed, a middleware opens sessions."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from bookmarks.database import get_engine
from bookmarks.middleware import session_per_request
from bookmarks.views import router


@asynccontextmanager
async def lifespan(app: FastAPI):
    yield
    await get_engine().dispose()


app = FastAPI(title="Bookmarks", lifespan=lifespan)
app.middleware("http")(session_per_request)
app.include_router(router)
