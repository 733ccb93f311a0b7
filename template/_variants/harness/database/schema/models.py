"""The tests' schema, created from the models."""

import asyncio
from typing import Final

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ..application import get_metadata
from .lifecycle import Database
from .thread import outside_loops

TEST_TABLES: Final = MetaData()
"""Tables of the contract's tests, if they run; they are created beside the application's."""


def create_schema(database: Database) -> None:
    """Create all tables in the empty `database`."""
    outside_loops(asyncio.run, create_all(database))


async def create_all(database: Database) -> None:
    """Create the tables of the application and of tests."""
    async with create_async_engine(database.url, poolclass=NullPool).begin() as connection:
        for metadata in (*get_metadata(), TEST_TABLES):
            await connection.run_sync(metadata.create_all)
