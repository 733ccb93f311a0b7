"""The strategy `savepoint`: a test's writes are rolled back, which costs nothing.

All connections of a test share one real connection, in a sandbox (sandbox/) that behaves like the
database: the application commits, rolls back and fails as in production. What the sandbox cannot
show is what several real connections do to each other: locks held side by side, SKIP LOCKED,
LISTEN and NOTIFY. Tests of those are marked `real_commits`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .database.lifecycle import Database
from .database.prepared import drop_outdated, make
from .errors import TransactionControlError
from .sandbox.fixture import refuse_shared_data
from .sandbox.real_commits import RealCommits
from .sandbox.sandbox import Sandbox
from .watch.runner import async_fixture
from .watch.watch import Watch

pytest_plugins = tuple(f"{__package__}.sandbox.{name}" for name in ("fixture", "real_commits"))


@pytest.fixture(scope="session", autouse=True)
def harness_schema(harness_database: Database) -> Iterator[None]:
    """Create the tables once."""
    make(harness_database)
    yield
    drop_outdated(harness_database)


@async_fixture(autouse=True)
async def harness_isolation(
    request: pytest.FixtureRequest,
    harness_watch: Watch,
    harness_sandbox: Sandbox,
    harness_real_commits: RealCommits,
) -> AsyncIterator[None]:
    """Run the test in the sandbox; with the mark `real_commits`, on connections of its own."""
    if request.node.get_closest_marker("real_commits"):
        refuse_shared_data(request.config)
        await harness_watch.close_connections()  # the pools hold those of the sandbox
        await harness_sandbox.close()
        harness_real_commits.begin()
        harness_watch.connect_shared = None
        try:
            async with harness_watch.watch_test():
                yield
        finally:
            harness_watch.connect_shared = harness_sandbox.connect
            try:
                await harness_watch.close_connections()
            finally:
                harness_real_commits.undo()
    else:
        harness_real_commits.has_traces = True
        try:
            async with harness_watch.watch_test():
                yield
        finally:
            try:
                await harness_sandbox.roll_back()
            except TransactionControlError:
                await harness_sandbox.close()
                harness_real_commits.undo()
                raise
