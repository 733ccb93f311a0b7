"""The tests' schema, made by the migrations."""

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ..application import MIGRATIONS, ROOT
from ..errors import HarnessError
from .lifecycle import Database
from .thread import outside_loops

OF_THE_SERVER: Final = (
    " If it belongs to the server, as a role does, other databases' migrations have created it:"
    " create it only where it is missing."
)

test_tables = MetaData()
"""Tables that only tests need; they are created beside the application's."""


def create_schema(database: Database) -> None:
    """Run all migrations on the empty `database`.

    They go to the database that the application is pointed to, which is this one; and outside
    of event loops, since migrations/env.py runs one of its own.

    Raises:
        pytest.exit.Exception: one of them fails, or goes to another database.
    """
    config = Config(toml_file=ROOT / "pyproject.toml")
    try:
        with nothing_but(database):
            outside_loops(command.upgrade, config, "head")
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(MIGRATIONS)]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else "a place outside of them"
        hint = OF_THE_SERVER if "already exists" in str(error) else ""
        pytest.exit(f"The migrations fail, at {place}: {error}{hint}", pytest.ExitCode.USAGE_ERROR)
    outside_loops(asyncio.run, create_test_tables(database))


async def create_test_tables(database: Database) -> None:
    """Create the tables that only tests need."""
    async with create_async_engine(database.url, poolclass=NullPool).begin() as connection:
        await connection.run_sync(test_tables.create_all)


@contextmanager
def nothing_but(database: Database) -> Iterator[None]:
    """Refuse connections to other databases than `database`."""

    def check(_: object, __: object, args: list[Any], options: dict[str, Any]) -> None:
        if not any(database.name in str(value) for value in (*args, *options.values())):
            raise HarnessError(
                "migrations/env.py connects to another database than that of the tests, which is"
                " refused. Let it read the address from the application's settings."
            )

    event.listen(Engine, "do_connect", check)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", check)
