"""What depends on pytest-asyncio, whose settings say how long an event loop lives."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
import pytest_asyncio

from ..answers import LOOP_SCOPE

TEST_SCOPE: Final = "asyncio_default_test_loop_scope"
FIXTURE_SCOPE: Final = "asyncio_default_fixture_loop_scope"
DEBUG: Final = "-o asyncio_debug=true"
"""What turns asyncio's debug mode on."""


def async_fixture(
    scope: Literal["session", "module", "class", "function"] = "function", *, autouse: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Declare an async fixture, in any mode of pytest-asyncio, and on which loop it runs."""
    return pytest_asyncio.fixture(scope=scope, autouse=autouse, loop_scope=LOOP_SCOPE)


def describe_settings(config: pytest.Config) -> str:
    """Say what decides how long a loop lives."""
    tests, fixtures = config.getini(TEST_SCOPE), config.getini(FIXTURE_SCOPE)
    if tests == fixtures:
        return f"The loop scope is {tests}, for tests and fixtures: does a mark say another?"
    return (
        f'{config.inipath} says {TEST_SCOPE} = "{tests}" and {FIXTURE_SCOPE} = "{fixtures}": they'
        " differ."
    )


def runner_tasks(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any] | None]:
    """Return the tasks that run tests: the current one."""
    return {asyncio.current_task(loop)}
