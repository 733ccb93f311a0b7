"""How long an event loop lives: what pyproject.toml says to pytest-asyncio."""

import asyncio
from typing import Any

import pytest

TESTS = "asyncio_default_test_loop_scope"
FIXTURES = "asyncio_default_fixture_loop_scope"


def describe_settings(config: pytest.Config) -> str:
    """Say what decides how long a loop lives."""
    return (
        f'pyproject.toml says {TESTS} = "{config.getini(TESTS)}" and'
        f' {FIXTURES} = "{config.getini(FIXTURES)}", which must be the same; does a mark or a'
        " fixture say another loop_scope?"
    )


def runner_tasks() -> set[asyncio.Task[Any] | None]:
    """Return the tasks that run tests: the current one."""
    return {asyncio.current_task()}
