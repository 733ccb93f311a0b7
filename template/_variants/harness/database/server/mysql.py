"""MariaDB or MySQL: the server that tests use, and making and dropping databases on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

from sqlalchemy import URL, Dialect, Engine, event, make_url
from sqlalchemy.exc import ArgumentError

from ..answers import DRIVER
from ..errors import HarnessError, ServerError
from .admin import AdminConnection

DEFAULT_SERVER: Final = "mysql://root@127.0.0.1:3306"
FAILURES: Final = (HarnessError,)
"""What making and dropping databases may raise."""
LIMIT_LOCK_WAITS: Final = "SET SESSION innodb_lock_wait_timeout = 5, lock_wait_timeout = 5"
"""In seconds."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait for another run that prepares the database."""
CONNECTION_OPTIONS: Final = {"unix_socket", "charset", "ssl", "ssl_ca", "ssl_cert", "ssl_key"}
"""Options of an address that do not say which database is meant."""

MARK: Final = "tests_harness"
"""A view in every database that the harness makes. It holds for which package, and whether the
database is complete: nobody else's database has that, whatever its name is."""

THINGS: Final = """
    SELECT 1 FROM information_schema.tables WHERE table_schema = '{name}'
    UNION ALL SELECT 1 FROM information_schema.routines WHERE routine_schema = '{name}'
    UNION ALL SELECT 1 FROM information_schema.events WHERE event_schema = '{name}'
"""
"""Whether there is anything in a database."""

PROCESSES: Final = "SELECT id FROM information_schema.processlist WHERE db = '{name}'"


@event.listens_for(Engine, "do_connect")
def limit_lock_waits(dialect: Dialect, _: object, __: object, options: dict[str, Any]) -> None:
    """See to it that a test that waits for a lock of its own gets an error, not a hang."""
    if dialect.driver == DRIVER.partition("+")[2]:
        options.setdefault("init_command", LIMIT_LOCK_WAITS)


@contextmanager
def server_url() -> Iterator[URL]:
    """Yield the address of the server in TEST_DATABASE_URL, or of the local one.

    Raises:
        HarnessError: the variable does not name a MariaDB or MySQL server.
    """
    try:
        url = make_url(os.environ.get("TEST_DATABASE_URL") or DEFAULT_SERVER)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("mysql", "mariadb"):
        raise HarnessError(
            "TEST_DATABASE_URL is not the address of a MariaDB or MySQL server;"
            " write mysql://user:password@host:3306"
        )
    if url.database or url.query.keys() - CONNECTION_OPTIONS:
        raise HarnessError(
            f"TEST_DATABASE_URL names more than a server: {url!r}. Tests make databases of their"
            " own and touch no other; write mysql://user:password@host:3306"
        )
    yield url.set(drivername=DRIVER, database="")


class Server:
    """A server, and the databases on it that the harness makes."""

    made: ClassVar[set[str]] = set()  # by any instance of this process

    def __init__(self, url: URL, key: str, process: str) -> None:
        """Connect to the server at `url`.

        Args:
            url: its address.
            key: what marks the databases of this project.
            process: a name of this process's own; while it holds the lock of it, it is alive.

        Raises:
            HarnessError: the server cannot be reached.
        """
        self.url = url
        self.key = key
        try:
            connection = AdminConnection(url, [f"DO GET_LOCK('{process}', 0)"])
        except ServerError as error:
            raise HarnessError(
                f"No MariaDB or MySQL server for tests at {error}\n"
                "Start it, or set TEST_DATABASE_URL=mysql://user:password@host:3306"
            ) from error
        self.query = connection.query
        self.close = connection.close
        ((number,),) = self.query("SELECT VERSION()")
        product = "MariaDB" if "mariadb" in number.lower() else "MySQL"
        self.version = f"{product} {number.partition('-')[0]}"

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=name)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep other processes out, as long as they ask for a lock of this `name`."""
        ((is_mine,),) = self.query(f"SELECT GET_LOCK('{name}', {PREPARE_TIMEOUT})")
        if not is_mine:
            raise HarnessError(
                f"Another run has been preparing {name} for {PREPARE_TIMEOUT} seconds."
            )
        try:
            yield
        finally:
            self.query(f"DO RELEASE_LOCK('{name}')")

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        query = f"""
            SELECT schema_name FROM information_schema.schemata
            LEFT JOIN information_schema.tables ON table_schema = schema_name
            WHERE LEFT(schema_name, {len(prefix)}) = '{prefix}'
            GROUP BY schema_name ORDER BY MAX(create_time) DESC
        """
        return [name for (name,) in self.query(query)]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name is connected."""
        ((owner,),) = self.query(f"SELECT IS_USED_LOCK('{process}')")
        return owner is not None

    def cancel_statements(self, name: str) -> None:
        """Cancel what runs in the database `name`."""
        for (process,) in self.query(f"{PROCESSES.format(name=name)} AND command = 'Query'"):
            with suppress(ServerError):  # it is gone already
                self.query(f"KILL QUERY {process}")

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        self.made.add(name)
        self.set_mark(name, is_complete=0)

    def drop(self, name: str) -> None:
        """Drop the database `name`.

        Raises:
            HarnessError: it is not the harness's.
        """
        if name not in self.made and not self._is_own(name):
            raise HarnessError(
                f"The database {name} on {self.url!r} is in the way, and has not been made by these"
                " tests; they do not touch it. Rename it, or use another server."
            )
        self._end_sessions(name)
        self.query(f"DROP DATABASE IF EXISTS `{name}`")

    def _end_sessions(self, name: str) -> None:
        """Disconnect whoever uses the database `name`: to drop it would wait for their locks."""
        for (process,) in self.query(PROCESSES.format(name=name)):
            with suppress(ServerError):  # it is gone already
                self.query(f"KILL {process}")

    def set_mark(self, name: str, *, is_complete: int) -> None:
        """Mark the database `name` as one that the harness has made."""
        self.query(
            f"CREATE OR REPLACE VIEW `{name}`.`{MARK}` AS"
            f" SELECT '{self.key}' AS project, {is_complete} AS is_complete"
        )

    def mark(self, name: str) -> tuple[str, int] | None:
        """Return the mark of the database `name`, if it has one: for which package it was made,
        and whether it is complete."""
        try:
            ((key, is_complete),) = self.query(f"SELECT * FROM `{name}`.`{MARK}`")
        except ServerError:
            return None
        return key, int(is_complete)

    def _is_own(self, name: str) -> bool:
        """Tell whether this project's tests have made the database `name`."""
        if mark := self.mark(name):
            return mark[0] == self.key
        return not self.query(THINGS.format(name=name))  # just created
