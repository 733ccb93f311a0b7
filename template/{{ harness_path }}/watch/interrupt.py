"""Ends what a test leaves running when pytest-timeout or Ctrl-C interrupts it."""

import asyncio
from collections.abc import Iterator
from traceback import walk_tb
from typing import Final

import pytest

from ..database.lifecycle import Database
from .tasks import cancel, retrieve, still_running
from .watch import Watch

STATEMENT_CANCEL_TIMEOUT: Final = 1
"""Seconds that tasks may take to end once their statements are cancelled."""


class Interrupt:
    """Ends the tasks of a test that is interrupted from outside of them. (A pytest plugin.)

    They would go on while fixtures end, and these would wait for the tasks' statements.
    """

    def __init__(self, database: Database, watch: Watch) -> None:
        """End what runs on `database` when the test that is watched is interrupted."""
        self._database = database
        self._watch = watch

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """End what is set up when somebody interrupts the loop."""
        return (yield from self._end_interrupted())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """End the test when somebody interrupts the loop."""
        if loop := self._watch.loop:
            self._watch.tasks_before_phase = asyncio.all_tasks(loop)
        return (yield from self._end_interrupted())

    def _end_interrupted(self) -> Iterator[None]:
        try:
            return (yield)
        except BaseException as error:
            places = [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]
            if (loop := self._watch.loop) and "run_forever" in places:
                loop.run_until_complete(self._end_unfinished())
            raise

    async def _end_unfinished(self) -> None:
        """Cancel all statements, then those tasks of this set-up or call that go on."""
        tasks = asyncio.all_tasks() - self._watch.tasks_before_phase - {asyncio.current_task()}
        self._database.server.cancel_statements(self._database.name)
        for task in tasks:
            task.add_done_callback(retrieve)
        await cancel(await still_running(tasks, after=STATEMENT_CANCEL_TIMEOUT))
