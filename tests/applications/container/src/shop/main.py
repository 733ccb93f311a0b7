"""A shop. A dependency-injector container holds the engine, and what needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse

from shop import api
from shop.containers import build_container
from shop.services import ShopError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.container.engine().dispose()


async def show_error(request: Request, error: ShopError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=error.status)


def create_app() -> FastAPI:
    container = build_container()
    container.wire(modules=[api])
    app = FastAPI(title="Shop", lifespan=lifespan)
    app.container = container
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["api.example.com", "localhost"])
    app.add_exception_handler(ShopError, show_error)
    app.include_router(api.router)
    return app


app = create_app()
