"""The strategy `reset`: commits are real, and after each test the database is put right.

A test shows all that the database itself shows: locks, several connections, visibility, deferred
constraints. What it has committed is found and undone afterwards (reset/), which costs about as
much as a rollback; what it could change in the server beyond its own database stays.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .database.lifecycle import Database
from .database.prepared import drop_outdated, make
from .reset.changes import TrackedConnection, close_changed
from .reset.levels import ResetLevels
from .watch.runner import async_fixture
from .watch.shared_data import SharedData
from .watch.watch import Watch


@pytest.fixture(scope="session", autouse=True)
def harness_reset(
    harness_database: Database, harness_watch: Watch, harness_shared_data: SharedData
) -> Iterator[ResetLevels]:
    """Create the tables once, and remember what is in them."""
    make(harness_database)
    harness_watch.guard = TrackedConnection
    levels = ResetLevels(harness_database, harness_shared_data.lose)
    harness_shared_data.levels = levels
    yield levels
    levels.close()
    drop_outdated(harness_database)


@async_fixture(autouse=True)
async def harness_isolation(
    harness_reset: ResetLevels, harness_watch: Watch
) -> AsyncIterator[None]:
    """Watch over the test, then put the database right."""
    try:
        async with harness_watch.watch_test():
            yield
    finally:
        await close_changed(harness_watch)
        was_remade = True  # also if it was not possible without that
        try:
            was_remade = harness_reset.return_to_level()
        finally:
            if was_remade:
                await harness_watch.close_connections()
