"""The strategy `clone`: every test has a database of its own.

It is a copy of one that is prepared once (prepared.py), so a test shows all that the database
shows, on as many connections as it likes, and may alter whatever it likes in there. It costs the
copy, which is made ahead while other tests run, and new connections for each test.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .database.clones import Clones
from .database.lifecycle import Database
from .watch.runner import async_fixture
from .watch.shared_data import SharedData
from .watch.watch import Watch


@pytest.fixture(scope="session", autouse=True)
def harness_clones(harness_database: Database, harness_shared_data: SharedData) -> Iterator[Clones]:
    """Prepare what is to be cloned."""
    clones = harness_shared_data.levels = Clones(harness_database)
    yield clones
    clones.close()


@async_fixture(autouse=True)
async def harness_isolation(harness_clones: Clones, harness_watch: Watch) -> AsyncIterator[None]:
    """Give the test a database; its connections end with it."""
    harness_clones.provide()
    try:
        async with harness_watch.watch_test():
            yield
    finally:
        await harness_watch.close_connections()
        harness_clones.discard()
