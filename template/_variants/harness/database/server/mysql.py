"""MariaDB or MySQL: the server that tests use, and creating and dropping databases on it."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import URL, Dialect, Engine, event, make_url
from sqlalchemy.exc import ArgumentError

from ..answers import DRIVER
from ..errors import HarnessError, ServerError
from .admin import AdminConnection

DEFAULT_SERVER: Final = "mysql://root@127.0.0.1:3306"
LOCK_FAILURE: Final = "lock wait timeout"
"""What the database says when a statement has waited too long for the transaction of another."""
LIMIT_LOCK_WAITS: Final = "SET SESSION innodb_lock_wait_timeout = 5, lock_wait_timeout = 5"
"""In seconds."""
PREPARE_TIMEOUT: Final = 120
"""Seconds to wait while another run prepares the database."""
CONNECTION_OPTIONS: Final = {"unix_socket", "charset", "ssl", "ssl_ca", "ssl_cert", "ssl_key"}
"""Options of an address that are about the connection, and select no database."""

MARK: Final = "tests_harness"
"""A view in every database that the harness creates. It contains the name of the package, and
whether the database is complete. One without it, that is not empty, is not the harness's."""

ANY_OBJECT: Final = """
    SELECT 1 FROM information_schema.tables WHERE table_schema = '{name}'
    UNION ALL SELECT 1 FROM information_schema.routines WHERE routine_schema = '{name}'
    UNION ALL SELECT 1 FROM information_schema.events WHERE event_schema = '{name}'
"""
"""A row for each object in a database."""

TABLE_LOCK_WAITS: Final = """
    SELECT info, SUBSTR(state, 13) FROM information_schema.processlist
    WHERE db = '{name}' AND state LIKE 'Waiting for % lock'
"""
ROW_LOCK_WAITS: Final = (
    r"query id .*\n((?:(?!---).*\n)+?)-+ TRX HAS BEEN WAITING.*\n.*(index \S+ of table `{name}`\S+)"
)
"""The statements that wait for locks in a database, in InnoDB's status, and the locks."""

CONNECTION_IDS: Final = "SELECT id FROM information_schema.processlist WHERE db = '{name}'"


@event.listens_for(Engine, "do_connect")
def limit_lock_waits(dialect: Dialect, _: object, __: object, options: dict[str, Any]) -> None:
    """Limit lock waits, so that a test that waits for its own lock gets an error, not a hang."""
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
    """A server, and the databases on it that the harness creates."""

    def __init__(self, url: URL, package: str, process: str) -> None:
        """Connect to the server at `url`.

        Args:
            url: its address.
            package: the application's, by which the databases of this project are marked.
            process: the name of this process, which holds a lock of that name while it is alive.

        Raises:
            HarnessError: the server cannot be reached.
        """
        self.url = url
        self.package = package
        self.created = set[str]()  # names of databases that may be dropped without a look inside
        try:
            # Without notes: a driver would log that what is dropped if it exists does not.
            settings = [f"DO GET_LOCK('{process}', 0)", "SET sql_notes = 0"]
            self.admin = AdminConnection(url, settings)
        except ServerError as error:
            raise HarnessError(
                f"No MariaDB or MySQL server for tests at {error}\n"
                "Start it, or set TEST_DATABASE_URL=mysql://user:password@host:3306"
            ) from error
        ((number,),) = self.admin.query("SELECT VERSION()")
        product = "MariaDB" if "mariadb" in number.lower() else "MySQL"
        self.version = f"{product} {number.partition('-')[0]}"

    def close(self) -> None:
        """Disconnect."""
        self.admin.close()

    def database_url(self, name: str) -> URL:
        """Return the address of the database `name`."""
        return self.url.set(database=name)

    def shell(self, name: str) -> str:
        """Return the command that opens the database `name` on a terminal."""
        url = self.url
        return f"mariadb -h {url.host} -P {url.port or 3306} -u {url.username} -p {name}"

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name`, which one process can hold at a time."""
        ((is_acquired,),) = self.admin.query(f"SELECT GET_LOCK('{name}', {PREPARE_TIMEOUT})")
        if not is_acquired:
            raise HarnessError(
                f"Another run has been preparing {name} for {PREPARE_TIMEOUT} seconds."
            )
        try:
            yield
        finally:
            self.admin.query(f"DO RELEASE_LOCK('{name}')")

    def databases(self, prefix: str) -> list[str]:
        """Return the names of databases that begin with `prefix`, the newest first."""
        query = f"""
            SELECT schema_name FROM information_schema.schemata
            LEFT JOIN information_schema.tables ON table_schema = schema_name
            WHERE LEFT(schema_name, {len(prefix)}) = '{prefix}'
            GROUP BY schema_name ORDER BY MAX(create_time) DESC
        """
        return [name for (name,) in self.admin.query(query)]

    def is_alive(self, process: str) -> bool:
        """Tell whether the process of that name holds its lock."""
        ((connection_id,),) = self.admin.query(f"SELECT IS_USED_LOCK('{process}')")
        return connection_id is not None

    def cancel_statements(self, name: str) -> None:
        """Cancel the statements that run in the database `name`."""
        query = f"{CONNECTION_IDS.format(name=name)} AND command = 'Query'"
        for (connection_id,) in self.admin.query(query):
            with suppress(ServerError):  # it has ended already
                self.admin.query(f"KILL QUERY {connection_id}")

    def lock_waits(self, name: str) -> Sequence[Any]:
        """Return the statements that wait for locks in the database `name`, and the lock; for
        those of rows, only if the user has the privilege PROCESS."""
        waits = self.admin.query(TABLE_LOCK_WAITS.format(name=name))
        try:
            ((*_, status),) = self.admin.query("SHOW ENGINE INNODB STATUS")
        except ServerError as error:
            HarnessError.raised.remove(error)
            return waits
        return [*waits, *re.findall(ROW_LOCK_WAITS.format(name=name), status)]

    def create(self, name: str) -> None:
        """Create the database `name`, empty.

        Raises:
            ServerError: it exists, or cannot be created.
        """
        self.admin.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        self.created.add(name)
        self.set_mark(name, is_complete=0)

    def drop(self, name: str) -> None:
        """Drop the database `name`.

        Raises:
            HarnessError: the harness has not created it.
        """
        if name not in self.created and not self._is_marked_or_empty(name):
            raise HarnessError(
                f"The database {name} on {self.url!r} is in the way. These tests have not created"
                " it, so they do not touch it. Rename it, or use another server."
            )
        self._end_connections(name)
        self.admin.query(f"DROP DATABASE IF EXISTS `{name}`")

    def _end_connections(self, name: str) -> None:
        """End all connections to the database `name`: dropping it would wait for their locks."""
        for (connection_id,) in self.admin.query(CONNECTION_IDS.format(name=name)):
            with suppress(ServerError):  # it has ended already
                self.admin.query(f"KILL {connection_id}")

    def set_mark(self, name: str, *, is_complete: int) -> None:
        """Mark the database `name` as one that the harness has created."""
        self.admin.query(
            f"CREATE OR REPLACE VIEW `{name}`.`{MARK}` AS"
            f" SELECT '{self.package}' AS project, {is_complete} AS is_complete"
        )

    def mark(self, name: str) -> tuple[str, int] | None:
        """Return the package of the database `name` and whether it is complete, if it has the
        mark."""
        try:
            ((package, is_complete),) = self.admin.query(f"SELECT * FROM `{name}`.`{MARK}`")
        except ServerError:
            return None
        return package, int(is_complete)

    def _is_marked_or_empty(self, name: str) -> bool:
        """Tell whether the database `name` has the mark of this project, or was just created."""
        if mark := self.mark(name):
            return mark[0] == self.package
        return not self.admin.query(ANY_OBJECT.format(name=name))
