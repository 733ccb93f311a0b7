"""The sandbox of each event loop, and the data in it that tests share."""

from collections.abc import AsyncIterator

import pytest

from ..answers import LOOP_SCOPE
from ..database.lifecycle import Database
from ..errors import HarnessError
from ..watch.runner import async_fixture
from ..watch.shared_data import SHARED_DATA, SharedData
from ..watch.watch import Watch
from .sandbox import Sandbox


@async_fixture(LOOP_SCOPE, autouse=True)
async def harness_sandbox(
    harness_schema: None,
    harness_database: Database,
    harness_watch: Watch,
    harness_shared_data: SharedData,
) -> AsyncIterator[Sandbox]:
    """The shared connection. It belongs to the loop, like all that it carries."""
    sandbox = Sandbox(harness_database.server, harness_shared_data.lose)
    harness_watch.connect_shared, harness_shared_data.levels = sandbox.connect, sandbox
    harness_watch.waits = sandbox.waits
    yield sandbox
    harness_watch.connect_shared = harness_shared_data.levels = None
    await sandbox.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remove data that tests share before a test for which the sandbox is closed."""
    if item.get_closest_marker("real_commits"):
        item.config.stash[SHARED_DATA].finish_all()


def refuse_shared_data(config: pytest.Config) -> None:
    """Refuse to close the sandbox for a test that has asked for data in it.

    Raises:
        HarnessError: it has.
    """
    if fixtures := config.stash[SHARED_DATA].fixtures:
        raise HarnessError(
            f"The data of {fixtures} is in the sandbox, where a test with real commits does not"
            " see it. Arrange the data in the test, or in a function-scoped fixture."
        )
