"""Billing, with SQLAlchemy Core. Two databases with an engine each: invoices, and a journal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import PositiveInt

from billing import audit, store
from billing.databases import audit_engine, main_engine


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await audit.record("started", app.version)
    yield
    await main_engine.dispose()
    await audit_engine.dispose()


app = FastAPI(title="Billing", version="0.6.1", lifespan=lifespan)


@app.exception_handler(store.Missing)
async def missing(request: Request, error: store.Missing) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


@app.exception_handler(store.Refused)
async def refused(request: Request, error: store.Refused) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 409)


@app.post("/customers", status_code=201)
async def post_customer(
    name: Annotated[str, Body()], credit: Annotated[int, Body(ge=0)] = 0
) -> int:
    return await store.add_customer(name, credit)


@app.get("/customers")
async def get_customers() -> list[dict[str, Any]]:
    return [dict(row) for row in await store.list_customers()]


@app.post("/customers/{name}/invoices", status_code=201)
async def post_invoice(name: str, lines: dict[str, PositiveInt]) -> int:
    return await store.add_invoice(name, lines)


@app.get("/invoices/{invoice_id}")
async def get_invoice(invoice_id: int) -> dict[str, Any]:
    return await store.get_invoice(invoice_id)


@app.post("/invoices/{invoice_id}/payment", status_code=204)
async def post_payment(invoice_id: int) -> None:
    await store.pay_invoice(invoice_id)


@app.get("/journal")
async def get_journal(kind: str | None = None) -> list[dict[str, Any]]:
    return [dict(row) for row in await audit.read(kind)]
