"""The tests' schema, made by the migrations."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from . import backend
from .lifecycle import Database, outside_loops

ROOT = Path(__file__).parents[2]

test_tables = MetaData()
"""Tables that only tests need; they are created beside the application's."""


def create_schema(database: Database) -> None:
    """Run all migrations on the empty `database`.

    They go to the database that the application is pointed to, which is this one; and outside
    of event loops, since migrations/env.py runs one of its own.
    """
    outside_loops(command.upgrade, Config(toml_file=ROOT / "pyproject.toml"), "head")
    outside_loops(asyncio.run, create_test_tables(database))


def drop_schema(database: Database) -> None:
    """Empty `database`: nothing is in the way of that, not even transactions left open."""
    outside_loops(backend.empty, database.server, database.name)


async def create_test_tables(database: Database) -> None:
    """Create the tables that only tests need."""
    async with create_async_engine(database.url, poolclass=NullPool).begin() as connection:
        await connection.run_sync(test_tables.create_all)
