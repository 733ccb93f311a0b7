from collections.abc import Sequence

from sqlalchemy import RowMapping, insert, select

from billing.databases import audit_engine
from billing.tables import events


async def record(kind: str, details: str) -> None:
    """Write to the journal: at once, whatever becomes of the transaction in the other database."""
    async with audit_engine.begin() as connection:
        await connection.execute(insert(events).values(kind=kind, details=details))


async def read(kind: str | None = None, limit: int = 100) -> Sequence[RowMapping]:
    query = select(events.c.kind, events.c.details).order_by(events.c.id).limit(limit)
    if kind is not None:
        query = query.where(events.c.kind == kind)
    async with audit_engine.connect() as connection:
        return (await connection.execute(query)).mappings().all()
