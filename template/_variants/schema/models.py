"""The tests' schema, made from the models."""

import asyncio

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from . import backend
from .application import get_metadata
from .lifecycle import Database, outside_loops

test_tables = MetaData()
"""Tables that only tests need; they are created beside the application's."""


def create_schema(database: Database) -> None:
    """Create all tables in the empty `database`."""
    outside_loops(asyncio.run, create_all(database))


def drop_schema(database: Database) -> None:
    """Empty `database`: nothing is in the way of that, not even transactions left open."""
    outside_loops(backend.empty, database.server, database.name)


async def create_all(database: Database) -> None:
    """Create the tables of the application and those of tests."""
    async with create_async_engine(database.url, poolclass=NullPool).begin() as connection:
        await connection.run_sync(get_metadata().create_all)
        await connection.run_sync(test_tables.create_all)
