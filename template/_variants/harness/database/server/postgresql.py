"""PostgreSQL: the server that tests use, and making and dropping databases on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..answers import DRIVER
from ..errors import HarnessError, ServerError
from .admin import AdminConnection
from .private_server import postgresql

FAILURES: Final = (HarnessError,)
"""What making and dropping databases may raise."""
LOCK_TIMEOUT: Final = 5
"""Seconds that a statement of a test waits for a lock."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait for another run that prepares the database."""
CONNECTION_OPTIONS: Final = {
    *("host", "port", "user", "password", "connect_timeout", "timeout"),
    *("ssl", "sslmode", "sslrootcert", "sslcert", "sslkey"),
}
"""Options of an address that do not say which database is meant."""

MARK: Final = "tests_harness"
"""An empty schema in every database that the harness makes, and so in all clones of it. What is
said of it is for which package: nobody else's database has that, whatever its name is."""

IS_OWN: Final = """
    SELECT EXISTS (
        SELECT FROM pg_namespace WHERE nspname = '{mark}'
        AND obj_description(oid, 'pg_namespace') = '{key}'
    ) OR NOT EXISTS (  -- just created: there is nothing in it that somebody could have made
        SELECT FROM (
            SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_proc
            UNION ALL SELECT oid FROM pg_type UNION ALL SELECT oid FROM pg_namespace
            UNION ALL SELECT oid FROM pg_extension UNION ALL SELECT oid FROM pg_largeobject_metadata
        ) things WHERE oid >= 16384
    )
"""
HALF_DROPPED: Final = "SELECT 1 FROM pg_database WHERE datname = '{name}' AND datconnlimit = -2"
"""Whether a server has crashed while it dropped that database: nobody can look into it any more.
https://www.postgresql.org/docs/current/catalog-pg-database.html"""


@contextmanager
def server_url() -> Iterator[URL]:
    """Yield the address of the server in TEST_DATABASE_URL, or of one that is started here.

    Raises:
        HarnessError: there is no server, or the variable does not name one.
    """
    for elsewhere in ("PGHOSTADDR", "PGSERVICE"):  # drivers would connect there instead
        os.environ.pop(elsewhere, None)
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
        if url.database not in (None, "", "postgres") or url.query.keys() - CONNECTION_OPTIONS:
            raise HarnessError(
                f"TEST_DATABASE_URL names more than a server: {url!r}. Tests make databases of"
                " their own and touch no other; write postgresql://user:password@host:5432/postgres"
            )
        yield url.set(drivername=DRIVER, database="postgres")
    else:
        with postgresql() as url:
            yield url.set(drivername=DRIVER)


class Server:
    """A server, and the databases on it that the harness makes."""

    made: ClassVar[set[str]] = set()  # by any instance of this process

    def __init__(self, url: URL, key: str, process: str) -> None:
        """Connect to the server at `url`.

        Args:
            url: the address of its database `postgres`.
            key: what marks the databases of this project.
            process: a name of this process's own; while it is connected, it is alive.

        Raises:
            HarnessError: the server cannot be reached.
        """
        self.url = url
        self._key = key
        try:
            connection = AdminConnection(url, [f"SET application_name = '{process}'"])
        except ServerError as error:
            raise HarnessError(
                f"No PostgreSQL server for tests at {error}\n"
                "Start it, set TEST_DATABASE_URL to another one, or unset the variable:"
                " the tests then start a server of their own."
            ) from error
        self.query = connection.query
        self.close = connection.close
        ((number,),) = self.query("SHOW server_version")
        self.version = f"PostgreSQL {number.split()[0]}"

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=name)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep other processes out, as long as they ask for a lock of this `name`."""
        key = f"hashtextextended('{name}', 0)"
        self.query(f"SET lock_timeout = '{PREPARE_TIMEOUT}s'")
        self.query(f"SELECT pg_advisory_lock({key})")
        try:
            yield
        finally:
            self.query(f"SELECT pg_advisory_unlock({key})")

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        query = f"SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}')"
        return [name for (name,) in self.query(f"{query} ORDER BY oid DESC")]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name is connected."""
        query = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{process}'"
        return bool(self.query(query))

    def cancel_statements(self, name: str) -> None:
        """Cancel what runs in the databases that begin with `name`."""
        self.query(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            f" WHERE starts_with(datname, '{name}') AND state = 'active'"
        )

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.create_as(name)
        self._query_in(
            name,
            f"CREATE SCHEMA {MARK}",
            f"COMMENT ON SCHEMA {MARK} IS '{self._key}'",
        )

    def drop(self, name: str) -> None:
        """Drop the database `name`, whoever is still connected to it.

        Raises:
            HarnessError: it is not the harness's.
        """
        self._refuse_others(name)
        self.query(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def create_as(self, name: str, options: str = "") -> None:
        """Create the database `name` with `options` of CREATE DATABASE.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.query(f'CREATE DATABASE "{name}" {options}')
        self.made.add(name)
        # A test that waits for a lock of its own gets an error, not a hang.
        self.query(f"ALTER DATABASE \"{name}\" SET lock_timeout = '{LOCK_TIMEOUT}s'")
        # What a test commits need not survive a power cut.
        self.query(f'ALTER DATABASE "{name}" SET synchronous_commit = off')

    def _refuse_others(self, name: str) -> None:
        if name not in self.made and not self.query(HALF_DROPPED.format(name=name)):
            ((is_own,),) = self._query_in(name, IS_OWN.format(mark=MARK, key=self._key))
            if not is_own:
                raise HarnessError(
                    f"The database {name} on {self.url!r} is in the way, and has not been made by"
                    " these tests; they do not touch it. Rename it, or use another server."
                )

    def _query_in(self, name: str, *statements: str) -> Any:
        """Execute statements in the database `name`; return the rows of the last one."""
        connection = AdminConnection(self.database_url(name))
        try:
            return [connection.query(statement) for statement in statements][-1]
        finally:
            connection.close()
