"""PostgreSQL: the server that tests use, and creating and dropping databases on it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..answers import DRIVER
from ..errors import HarnessError, ServerError
from .admin import AdminConnection
from .default_server import START_ADVICE, default_server

LOCK_FAILURE: Final = "lock timeout"
"""What the database says when a statement has waited too long for the transaction of another."""
LOCK_TIMEOUT: Final = 5
"""Seconds that a statement of a test waits for a lock."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait while another run prepares the database."""
CONNECTION_OPTIONS: Final = ("host", "port", "user", "password", "{{ timeout }}", "{{ ssl }}")
"""Options of the driver that an address may have: they are about the connection alone."""

MARK: Final = "tests_harness"
"""An empty schema in every database that the harness creates, and in all its clones. The comment
on it is the package. One without it, that is not empty, is not the harness's."""

IS_MARKED_OR_EMPTY: Final = """
    SELECT EXISTS (
        SELECT FROM pg_namespace WHERE nspname = '{mark}'
        AND obj_description(oid, 'pg_namespace') = '{package}'
    ) OR NOT EXISTS (  -- just created, with no object of any user
        SELECT FROM (
            SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_proc
            UNION ALL SELECT oid FROM pg_type UNION ALL SELECT oid FROM pg_namespace
            UNION ALL SELECT oid FROM pg_extension UNION ALL SELECT oid FROM pg_largeobject_metadata
        ) objects WHERE oid >= 16384
    )
"""
LOCK_WAITS: Final = """
    SELECT waiting.query, format('%s (%s)', mode, locktype), holding.query
    FROM pg_stat_activity waiting JOIN pg_locks ON pg_locks.pid = waiting.pid AND NOT granted
    JOIN pg_stat_activity holding ON holding.pid = ANY(pg_blocking_pids(waiting.pid))
    WHERE starts_with(waiting.datname, '{name}')
"""
HALF_DROPPED: Final = "SELECT 1 FROM pg_database WHERE datname = '{name}' AND datconnlimit = -2"
"""A row if a server crashed while it dropped that database, to which nobody can connect any more.
https://www.postgresql.org/docs/current/catalog-pg-database.html"""


@contextmanager
def server_url() -> Iterator[URL]:
    """Yield the address of the server in TEST_DATABASE_URL, or of the default one.

    Raises:
        HarnessError: there is no server, or the variable does not name one.
    """
    for variable in ("PGHOSTADDR", "PGSERVICE"):  # libpq would prefer them to the address
        os.environ.pop(variable, None)
    if address := os.environ.get("TEST_DATABASE_URL"):
        try:
            url = make_url(address)
        except ArgumentError:
            url = None
        if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
            raise HarnessError(
                "TEST_DATABASE_URL is not the address of a PostgreSQL server;"
                " write postgresql://user:password@host:5432/postgres"
            )
        if url.database not in (None, "", "postgres") or url.query.keys() - {*CONNECTION_OPTIONS}:
            raise HarnessError(
                f"TEST_DATABASE_URL names more than a server: {url!r}. Tests make databases of"
                " their own and touch no other; write postgresql://user:password@host:5432/postgres"
                f", with no options but {', '.join(CONNECTION_OPTIONS)}"
            )
        yield url.set(drivername=DRIVER, database="postgres")
    else:
        with default_server() as url:
            yield url.set(drivername=DRIVER)


class Server:
    """A server, and the databases on it that the harness creates."""

    created: ClassVar[set[str]] = set()
    """Names of databases that this process has created, by whichever instance: it may drop them
    without a look inside."""

    def __init__(self, url: URL, package: str, process: str) -> None:
        """Connect to the server at `url`.

        Args:
            url: the address of its database `postgres`.
            package: the application's, by which the databases of this project are marked.
            process: the name of this process, which is alive while a connection has that name.

        Raises:
            HarnessError: the server cannot be reached.
        """
        self.url = url
        self._package = package
        try:
            self.admin = AdminConnection(url, [f"SET application_name = '{process}'"])
        except ServerError as error:
            raise HarnessError(
                f"No PostgreSQL server for tests at {error}\n{START_ADVICE}"
            ) from error
        ((number,),) = self.admin.query("SHOW server_version")
        self.version = f"PostgreSQL {number.split()[0]}"

    def close(self) -> None:
        """Disconnect."""
        self.admin.close()

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=name)

    def shell(self, name: str) -> str:
        """Return the command that opens the database `name` on a terminal."""
        url = self.database_url(name).set(drivername="postgresql")
        return f"psql '{url.render_as_string(hide_password=False)}'"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name`, which one process can hold at a time."""
        key = f"hashtextextended('{name}', 0)"
        self.admin.query(f"SET lock_timeout = '{PREPARE_TIMEOUT}s'")
        self.admin.query(f"SELECT pg_advisory_lock({key})")
        try:
            yield
        finally:
            self.admin.query(f"SELECT pg_advisory_unlock({key})")

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        query = f"SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}')"
        return [name for (name,) in self.admin.query(f"{query} ORDER BY oid DESC")]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name is connected."""
        query = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{process}'"
        return bool(self.admin.query(query))

    def cancel_statements(self, name: str) -> None:
        """Cancel the statements that run in the databases that begin with `name`."""
        self.admin.query(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            f" WHERE starts_with(datname, '{name}') AND state = 'active'"
        )

    def lock_waits(self, name: str) -> Sequence[Any]:
        """Return the statements that wait for locks in the databases that begin with `name`, the
        lock, and the last statement of who holds it."""
        return self.admin.query(LOCK_WAITS.format(name=name))

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.create_with_options(name)
        self._query_in(
            name,
            f"CREATE SCHEMA {MARK}",
            f"COMMENT ON SCHEMA {MARK} IS '{self._package}'",
        )

    def drop(self, name: str) -> None:
        """Drop the database `name`, even if somebody is still connected to it.

        Raises:
            HarnessError: the harness has not created it.
        """
        self._refuse_foreign(name)
        self.admin.query(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def create_with_options(self, name: str, options: str = "") -> None:
        """Create the database `name` with `options` of CREATE DATABASE.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.admin.query(f'CREATE DATABASE "{name}" {options}')
        self.created.add(name)
        # A test that waits for its own lock gets an error, not a hang.
        self.admin.query(f"ALTER DATABASE \"{name}\" SET lock_timeout = '{LOCK_TIMEOUT}s'")
        # What a test commits need not survive a power cut.
        self.admin.query(f'ALTER DATABASE "{name}" SET synchronous_commit = off')

    def end_connections(self, name: str) -> None:
        """End all connections to the database `name`."""
        self.admin.query(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
        )

    def _refuse_foreign(self, name: str) -> None:
        if name not in self.created and not self.admin.query(HALF_DROPPED.format(name=name)):
            ((may_drop,),) = self._query_in(
                name, IS_MARKED_OR_EMPTY.format(mark=MARK, package=self._package)
            )
            if not may_drop:
                raise HarnessError(
                    f"The database {name} on {self.url!r} is in the way. These tests have not"
                    " created it, so they do not touch it. Rename it, or use another server."
                )

    def _query_in(self, name: str, *statements: str) -> Any:
        """Execute statements in the database `name`; return the rows of the last one."""
        connection = AdminConnection(self.database_url(name))
        try:
            return [connection.query(statement) for statement in statements][-1]
        finally:
            connection.close()
