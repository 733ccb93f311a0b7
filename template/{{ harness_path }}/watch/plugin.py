"""The watch as a pytest plugin. It begins before the application is imported."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import import_module
from typing import Final

import pytest
from sqlalchemy import event

from ..answers import LOOP_SCOPE
from ..application import get_engine
from ..database.lifecycle import DATABASE
from .interrupt import Interrupt
from .log import StatementLog
from .loops import Loops
from .runner import async_fixture
from .watch import Watch
from .who import Who

WATCH: Final = pytest.StashKey[Watch]()


def start(config: pytest.Config) -> None:
    """Watch over the run's database."""
    with suppress(ImportError):
        # It would stop the clock of event loops, too: nothing that has a time limit would end.
        import_module("freezegun").configure(extend_ignore_list=["asyncio"])
    database = config.stash[DATABASE]
    who = Who()
    watch = config.stash[WATCH] = Watch(database, Loops(config, database.url, who), who)
    log = StatementLog(who, watch.connections)
    for registered in (who, log, Interrupt(database, watch, log)):
        config.pluginmanager.register(registered)


@pytest.fixture(scope="session")
def harness_watch(pytestconfig: pytest.Config) -> Watch:
    """What watches over loops, connections and tasks."""
    watch = pytestconfig.stash[WATCH]
    event.listen(get_engine().sync_engine, "engine_connect", watch.refuse_unguarded)
    return watch


@async_fixture(LOOP_SCOPE, autouse=True)
async def harness_end_loop(harness_watch: Watch) -> AsyncIterator[None]:
    """Close connections as the last thing on each loop: nobody could use or close them later."""
    harness_watch.loop_of_scope = asyncio.get_running_loop()
    yield
    harness_watch.loop_of_scope = None
    await harness_watch.close_connections()
