"""The strategy `savepoint`: a test's writes are never committed, and cost nothing to undo.

All connections of a test share one real connection, in a sandbox (sandbox.py) that behaves like
the database: the application commits, rolls back and fails as in production. What the sandbox
cannot show is what several real connections do to each other: locks held side by side, SKIP
LOCKED, LISTEN and NOTIFY. Tests of those are marked `real_commits`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from .answers import LOOP_SCOPE
from .errors import TransactionControlError
from .lifecycle import Database
from .sandbox import Sandbox
from .schema import create_schema, drop_schema


@pytest.fixture(scope="session", autouse=True)
def schema(database: Database) -> Iterator[None]:
    """Create the tables once; from then on the database is used in tests only."""
    create_schema(database)
    Sandbox.database = database.url
    yield
    Sandbox.database = None


@pytest.fixture(scope=LOOP_SCOPE)
async def sandbox(schema: None, engine: AsyncEngine) -> AsyncIterator[Sandbox]:
    """The shared connection. It belongs to the loop, like all that it carries."""
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


@pytest.fixture(autouse=True)
async def isolation(
    request: pytest.FixtureRequest, sandbox: Sandbox, engine: AsyncEngine, database: Database
) -> AsyncIterator[None]:
    """Run the test in the sandbox; with the mark `real_commits`, on connections of its own."""
    if request.node.get_closest_marker("real_commits"):
        await sandbox.close()
        await engine.dispose()
        with Sandbox.bypass():
            yield
            await engine.dispose()
            drop_schema(database)
            create_schema(database)
    else:
        with sandbox.open():
            yield
            try:
                await sandbox.roll_back()
            except TransactionControlError:
                await sandbox.close()
                with Sandbox.bypass():
                    drop_schema(database)
                    create_schema(database)
                raise
