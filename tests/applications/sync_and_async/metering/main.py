"""Metering. An asynchronous engine for the meters, and a synchronous one for administration."""

from fastapi import FastAPI

from metering import admin, api

app = FastAPI(title="Metering")
app.include_router(api.router)
app.include_router(admin.router)
