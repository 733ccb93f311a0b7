"""The strategy `create_drop`: every test gets a new database.

Commits are real, so a test shows all that real transactions show: locks, several connections,
visibility. It costs the making of the whole schema, for each test.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .database.lifecycle import SPARED, Database, exit_on_failure
from .database.schema import create_schema
from .watch.runner import async_fixture
from .watch.watch import Watch


@pytest.fixture(autouse=True)
def harness_schema(harness_database: Database) -> Iterator[None]:
    """Create the database and its tables before the test, drop it after it."""
    server, name = harness_database.server, harness_database.name
    with exit_on_failure(harness_database):
        server.create(name)
    create_schema(harness_database)
    yield
    with exit_on_failure(harness_database):
        if not SPARED:
            server.drop(name)


@async_fixture(autouse=True)
async def harness_isolation(harness_schema: None, harness_watch: Watch) -> AsyncIterator[None]:
    """Watch over the test; close its connections before its database goes."""
    try:
        async with harness_watch.watch_test():
            yield
    finally:
        await harness_watch.close_connections()
