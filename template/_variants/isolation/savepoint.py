"""The strategy `savepoint`: a test's writes are never committed, and cost nothing to undo.

All connections of a test share one real connection, in a sandbox (sandbox.py) that behaves like
the database: the application commits, rolls back and fails as in production. What the sandbox
cannot show is what several real connections do to each other: locks held side by side, SKIP
LOCKED, LISTEN and NOTIFY. Tests of those are marked `real_commits`.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache

import pytest

from .answers import LOOP_SCOPE
from .errors import TransactionControlError
from .lifecycle import Database
from .prepared import drop_outdated, make, renew
from .reset import Reset
from .sandbox import Sandbox
from .watch import Watch


@pytest.fixture(scope="session", autouse=True)
def harness_schema(harness_database: Database) -> Iterator[None]:
    """Create the tables once."""
    make(harness_database)
    yield
    drop_outdated(harness_database)


@pytest.fixture(scope="session")
def harness_get_reset(
    harness_schema: None, harness_database: Database
) -> Iterator[Callable[[], Reset]]:
    """What undoes real commits; made when it is first needed."""

    @cache
    def get() -> Reset:
        renew(harness_database)  # for what a rollback leaves: the sandbox has used sequences
        return Reset(harness_database)

    yield get
    if get.cache_info().currsize:
        get().close()


@pytest.fixture(scope=LOOP_SCOPE)
async def harness_sandbox(
    harness_schema: None, harness_database: Database
) -> AsyncIterator[Sandbox]:
    """The shared connection. It belongs to the loop, like all that it carries."""
    sandbox = Sandbox(harness_database.server)
    yield sandbox
    await sandbox.close()


@pytest.fixture(autouse=True)
async def harness_isolation(
    request: pytest.FixtureRequest,
    harness_watch: Watch,
    harness_sandbox: Sandbox,
    harness_get_reset: Callable[[], Reset],
) -> AsyncIterator[None]:
    """Run the test in the sandbox; with the mark `real_commits`, on connections of its own."""
    if request.node.get_closest_marker("real_commits"):
        await harness_sandbox.close()  # or its locks would be in the way
        reset = harness_get_reset()
        reset.run()  # for the ids that the sandbox has used since
        try:
            async with harness_watch.over_test():
                yield
        finally:
            await harness_watch.close_connections()
            reset.run(is_altered=harness_watch.is_altered)
    else:
        try:
            async with harness_watch.over_test(harness_sandbox):
                yield
        finally:
            try:
                await harness_sandbox.roll_back()
            except TransactionControlError:
                await harness_sandbox.close()
                harness_get_reset().renew()
                raise
