"""A lending library. One engine and one sessionmaker at module level, in app/db.py."""

from fastapi import FastAPI
from sqlalchemy import text

from app import authors, books
from app.db import async_session

app = FastAPI(title="Library")
app.include_router(authors.router)
app.include_router(books.router)


@app.get("/health")
async def health() -> dict[str, str]:
    async with async_session() as session:
        await session.execute(text("SELECT 1"))
    return {"status": "ok"}
