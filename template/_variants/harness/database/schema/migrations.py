"""The tests' schema, created by the migrations."""

import asyncio
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, MetaData, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ..application import MIGRATIONS, ROOT, SETTING, alembic_config
from ..errors import HarnessError
from .lifecycle import Database
from .thread import outside_loops

SERVER_OBJECT_HINT: Final = (
    " If it belongs to the server, as a role does, other databases' migrations have created it:"
    " create it only where it is missing."
)

TEST_TABLES: Final = MetaData()
"""Tables of the contract's tests, if they run; they are created beside the application's."""


def create_schema(database: Database) -> None:
    """Run all migrations on the empty `database`.

    They find its address in the application's settings. They run outside event loops, because
    migrations/env.py starts one.

    Raises:
        pytest.exit.Exception: one of them fails, or connects to another database.
    """
    try:
        with refuse_other_databases(database), keep_logging(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a run that has no need of migrations sees none
            outside_loops(command.upgrade, alembic_config(), "head")
    except Exception as error:
        trace = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in trace if Path(frame.filename).is_relative_to(MIGRATIONS)]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "the start"
        hint = SERVER_OBJECT_HINT if "already exists" in str(error) else ""
        pytest.exit(f"The migrations fail, at {place}: {error}{hint}", pytest.ExitCode.USAGE_ERROR)
    outside_loops(asyncio.run, create_test_tables(database))


async def create_test_tables(database: Database) -> None:
    """Create the tables that only tests need."""
    async with create_async_engine(database.url, poolclass=NullPool).begin() as connection:
        await connection.run_sync(TEST_TABLES.create_all)


@contextmanager
def refuse_other_databases(database: Database) -> Iterator[None]:
    """Refuse connections to any database except `database`."""

    def check(_: object, __: object, args: list[Any], options: dict[str, Any]) -> None:
        is_named = any(database.name in str(value) for value in (*args, *options.values()))
        port = database.url.port
        if not is_named or str(options.get("port", port)) != str(port):
            raise HarnessError(
                f"{MIGRATIONS.relative_to(ROOT)}/env.py connects to another database than that of"
                " the tests, which is refused. Let it read the address from the application's"
                f" settings, and these from {SETTING}, which nothing else may set."
            )

    engines = set[Engine]()

    def note(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "do_connect", check)
    event.listen(Engine, "engine_connect", note)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", check)
        event.remove(Engine, "engine_connect", note)
        for engine in engines:  # env.py may use one with a pool, which would keep connections
            engine.dispose(close=not engine.dialect.is_async)


@contextmanager
def keep_logging() -> Iterator[None]:
    """Keep the loggers: env.py may configure logging, and does not run in every run."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in root.manager.loggerDict)]
    before = [(each, each.disabled, each.level, [*each.handlers]) for each in loggers]
    try:
        yield
    finally:
        for logger, is_disabled, level, handlers in before:
            logger.disabled, logger.handlers = is_disabled, handlers
            logger.setLevel(level)
