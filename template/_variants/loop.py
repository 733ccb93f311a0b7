"""How long an event loop lives: as long as an async fixture of its scope."""

from collections.abc import AsyncIterator

import pytest

from .answers import LOOP_SCOPE


@pytest.fixture(scope=LOOP_SCOPE)
def anyio_backend() -> str:
    """Run on asyncio; SQLAlchemy knows no other."""
    return "asyncio"


@pytest.fixture(scope=LOOP_SCOPE, autouse=True)
async def event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep the loop. anyio closes it as soon as no async fixture is left that runs on it."""
    yield  # noqa: PT022 - the loop lives until this fixture ends
