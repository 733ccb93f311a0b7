"""The strategy `savepoint`: a test's writes are never committed, and cost nothing to undo.

All connections of a test share one real connection, in a sandbox (sandbox/) that behaves like the
database: the application commits, rolls back and fails as in production. What the sandbox cannot
show is what several real connections do to each other: locks held side by side, SKIP LOCKED,
LISTEN and NOTIFY. Tests of those are marked `real_commits`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from .answers import LOOP_SCOPE
from .database.lifecycle import Database
from .database.prepared import drop_outdated, make
from .errors import TransactionControlError
from .sandbox.real_commits import RealCommits
from .sandbox.sandbox import Sandbox
from .watch.watch import Watch


@pytest.fixture(scope="session", autouse=True)
def harness_real_commits(harness_database: Database) -> Iterator[RealCommits]:
    """Create the tables once; what undoes real commits to them."""
    make(harness_database)
    real_commits = RealCommits(harness_database)
    yield real_commits
    real_commits.close()
    drop_outdated(harness_database)


@pytest.fixture(scope=LOOP_SCOPE)
async def harness_sandbox(
    harness_real_commits: RealCommits, harness_database: Database
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
    harness_real_commits: RealCommits,
) -> AsyncIterator[None]:
    """Run the test in the sandbox; with the mark `real_commits`, on connections of its own."""
    if request.node.get_closest_marker("real_commits"):
        await harness_watch.close_connections()  # those that share one
        await harness_sandbox.close()
        harness_real_commits.begin()
        try:
            async with harness_watch.over_test():
                yield
        finally:
            await harness_watch.close_connections()
            harness_real_commits.undo()
    else:
        harness_real_commits.is_used = True
        try:
            async with harness_watch.over_test(harness_sandbox.connect):
                yield
        finally:
            try:
                await harness_sandbox.roll_back()
            except TransactionControlError:
                await harness_sandbox.close()
                harness_real_commits.undo()
                raise
