"""A wallet. The engine is made in the lifespan, and lives in the application's state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from . import api
from .models import Base
from .settings import Settings
from .worker import write_receipts


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = make_url(app.state.settings.database_url)
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    engine = create_async_engine(url, **options)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    app.state.engine = engine
    app.state.session_factory = async_sessionmaker(engine, expire_on_commit=False)
    app.state.receipts = asyncio.Queue()
    worker = asyncio.create_task(write_receipts(app.state.receipts, app.state.session_factory))
    yield
    await app.state.receipts.join()
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    await engine.dispose()


def create_app(settings: Settings | None = None) -> FastAPI:
    app = FastAPI(title="Wallet", lifespan=lifespan)
    app.state.settings = settings or Settings()
    app.include_router(api.router)
    return app


app = create_app()
