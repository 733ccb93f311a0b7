"""python -m billing.create_tables"""

import asyncio

from billing.databases import audit_engine, main_engine
from billing.tables import audit_metadata, main_metadata


async def create_tables() -> None:
    for engine, metadata in ((main_engine, main_metadata), (audit_engine, audit_metadata)):
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
