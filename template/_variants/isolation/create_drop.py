"""The strategy `create_drop`: every test gets new tables.

Commits are real, so a test sees all that real transactions show: locks, several connections,
visibility. It costs the making and dropping of the whole schema, for each test.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from .lifecycle import Database
from .schema import create_schema, drop_schema


@pytest.fixture(autouse=True)
def schema(database: Database) -> Iterator[None]:
    """Create the tables before the test, drop them after it."""
    create_schema(database)
    yield
    drop_schema(database)


@pytest.fixture(autouse=True)
async def isolation(schema: None, engine: AsyncEngine) -> AsyncIterator[None]:
    """Close the test's connections before its tables go: they hold locks and cached plans."""
    yield
    await engine.dispose()
