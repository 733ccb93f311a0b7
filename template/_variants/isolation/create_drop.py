"""The strategy `create_drop`: every test gets new tables.

Commits are real, so a test shows all that real transactions show: locks, several connections,
visibility. It costs the making and dropping of the whole schema, for each test.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .lifecycle import Database, exit_on_failure
from .schema import create_schema
from .watch import Watch


@pytest.fixture(scope="session")
def empty(database: Database) -> None:
    """Create the database, without tables."""
    with exit_on_failure(database):
        database.server.create(database.name)


@pytest.fixture(autouse=True)
def schema(empty: None, database: Database) -> Iterator[None]:
    """Create the tables before the test, drop them after it."""
    create_schema(database)
    yield
    database.server.empty(database.name)


@pytest.fixture(autouse=True)
async def isolation(schema: None, watch: Watch) -> AsyncIterator[None]:
    """Watch over the test; close its connections before its tables go, whose plans they hold."""
    try:
        async with watch.over_test():
            yield
    finally:
        await watch.close_connections()
