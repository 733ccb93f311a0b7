"""A connection of the harness's own, on an event loop and in a thread of its own."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from .errors import ServerError
from .thread import new_thread

TIME_LIMIT: Final = 30
"""Seconds to connect."""


class OwnConnection:
    """A connection outside of all tests, in autocommit mode, with methods that wait."""

    def __init__(self, url: URL, settings: Iterable[str] = ()) -> None:
        """Connect to the database at `url`.

        Args:
            url: where to.
            settings: statements to execute first.

        Raises:
            ServerError: it cannot be reached.
        """
        self._url = url
        self._settings = [*settings]
        self._engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._thread = new_thread()
        self._runner = asyncio.Runner()
        try:
            self._connect()
        except BaseException:
            self._end()
            raise

    def query(self, statement: str) -> Sequence[Any]:
        """Execute `statement`; return its rows, if it has any.

        If the connection has been lost, on another one.

        Raises:
            ServerError: it fails.
            pytest.exit.Exception: the server cannot be reached any more.
        """
        if not self._connection.invalidated:
            try:
                return self._execute(statement)
            except ServerError:
                if not self._connection.invalidated:
                    raise
        try:
            self._connect()
        except ServerError as error:
            pytest.exit(f"The server of the tests is gone: {error}", pytest.ExitCode.USAGE_ERROR)
        return self._execute(statement)

    def close(self) -> None:
        """Disconnect."""
        with suppress(Exception):  # the other side has done so already
            self._run(self._connection.close())
        self._end()

    def _end(self) -> None:
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _connect(self) -> None:
        try:
            self._connection = self._run(connect(self._engine))
        except Exception as error:  # of SQLAlchemy, the driver or the system
            raise ServerError(f"{self._url!r}: {error or 'no answer'}") from error
        for statement in self._settings:
            self._execute(statement)

    def _execute(self, statement: str) -> Sequence[Any]:
        rows: Sequence[Any] = self._run(self._connection.run_sync(execute, statement))
        return rows

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._runner.run, coroutine).result()


async def connect(engine: AsyncEngine) -> AsyncConnection:
    """Connect within the time limit."""
    async with asyncio.timeout(TIME_LIMIT):
        return await engine.connect()


def execute(connection: Connection, statement: str) -> Sequence[Any]:
    """Execute `statement` by the driver alone: it has no parameters, and that is quicker.

    Raises:
        ServerError: it fails. If the connection has been lost, it is invalidated.
    """
    proxy = connection.connection
    cursor = proxy.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
    except (connection.dialect.loaded_dbapi.Error, OSError) as error:
        if isinstance(error, OSError) or connection.dialect.is_disconnect(error, proxy, cursor):
            connection.invalidate(error)
        raise ServerError(str(error)) from error
    finally:
        cursor.close()
