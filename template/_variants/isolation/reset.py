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
def reset(database: Database) -> Iterator[Reset]:
    """Create the tables once, and remember what is in them."""
    make(database)
    reset = Reset(database)
    yield reset
    reset.close()
    drop_outdated(database)


@pytest.fixture(autouse=True)
async def isolation(reset: Reset, watch: Watch) -> AsyncIterator[None]:
    """Watch over the test, then put the database right."""
    try:
        async with watch.over_test():
            yield
    finally:
        was_remade = True  # also if it was not possible without that
        try:
            was_remade = reset.run(is_altered=watch.is_altered)
        finally:
            if was_remade:
                await watch.close_connections()
