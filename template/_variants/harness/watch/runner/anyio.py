"""What depends on AnyIO. An event loop lives as long as an async fixture of its scope."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal

import pytest

from ..answers import LOOP_SCOPE

DEBUG: Final = "PYTHONASYNCIODEBUG=1"
"""What turns asyncio's debug mode on."""


@pytest.fixture(scope=LOOP_SCOPE)
def anyio_backend() -> str:
    """Run on asyncio; SQLAlchemy knows no other."""
    return "asyncio"


@pytest.fixture(scope=LOOP_SCOPE, autouse=True)
async def harness_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep the loop. anyio closes it as soon as no async fixture is left that runs on it."""
    yield  # noqa: PT022 - the loop lives until this fixture ends


def async_fixture(
    scope: Literal["session", "module", "class", "function"] = "function", *, autouse: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Declare an async fixture; it runs on the loop that `harness_loop` keeps."""
    return pytest.fixture(scope=scope, autouse=autouse)


def describe_settings(_: pytest.Config) -> str:
    """Say what decides how long a loop lives."""
    return (
        f'The fixture anyio_backend has the scope "{LOOP_SCOPE}", and each loop lives as long: was'
        " it replaced by one of another scope?"
    )


def runner_tasks(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any] | None]:
    """Return the tasks that run tests: anyio has one that runs them, and one that waits for it."""
    waiting = {
        task
        for task in asyncio.all_tasks(loop)
        if getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")
    }
    return {asyncio.current_task(loop), *waiting}
