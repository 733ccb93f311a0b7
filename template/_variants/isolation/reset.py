"""The strategy `reset`: commits are real, and after each test the database is put right.

A test shows all that the database itself shows: locks, several connections, visibility, deferred
constraints. What it has committed is found and undone afterwards (reset.py), which costs about as
much as a rollback; what it could change in the server beyond its own database stays.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .lifecycle import Database
from .prepared import drop_outdated, make
from .reset import Reset
from .watch import Watch


@pytest.fixture(scope="session", autouse=True)
def harness_reset(harness_database: Database) -> Iterator[Reset]:
    """Create the tables once, and remember what is in them."""
    make(harness_database)
    reset = Reset(harness_database)
    yield reset
    reset.close()
    drop_outdated(harness_database)


@pytest.fixture(autouse=True)
async def harness_isolation(harness_reset: Reset, harness_watch: Watch) -> AsyncIterator[None]:
    """Watch over the test, then put the database right."""
    try:
        async with harness_watch.over_test():
            yield
    finally:
        was_remade = True  # also if it was not possible without that
        try:
            was_remade = harness_reset.run(is_altered=harness_watch.is_altered)
        finally:
            if was_remade:
                await harness_watch.close_connections()
