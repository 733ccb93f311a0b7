"""The run's database: its server is found or started before the application is imported."""

import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import URL

from .. import answers, application
from ..errors import HarnessError
from .server import FAILURES, Server, server_url

PREFIX: Final = f"test_{application.PROJECT}_"
"""The prefix of all databases that the tests of this project create."""
HARNESS: Final = __name__.rpartition(".database.")[0]
RUN_DATABASE: Final = re.compile("(?P<process>" + PREFIX + r"[0-9a-f]{8})(_\d+)?")
"""The databases of one process of a run. The first bears the name of the process."""


@dataclass(frozen=True)
class Database:
    """The database that belongs to this run (under pytest-xdist: to this worker)."""

    server: Server
    name: str

    @property
    def url(self) -> URL:
        """The address of the database, for the driver that was chosen."""
        return self.server.database_url(self.name)


DATABASE: Final = pytest.StashKey[Database]()


def point_application_to_database(config: pytest.Config) -> None:
    """Point the application to this run's own database, before anything can import it.

    Raises:
        pytest.UsageError: the application has been imported already, or there is no server.
    """
    if application.MODULE in sys.modules:
        raise pytest.UsageError(
            f"{application.MODULE} was imported before the harness could point it to a database"
            f" for tests. Load the harness first: addopts = ['-p', '{HARNESS}', ...]"
        )
    cleanup = ExitStack()
    config.add_cleanup(cleanup.close)
    name = f"{PREFIX}{secrets.token_hex(4)}"
    try:
        url = cleanup.enter_context(server_url())
        server = cleanup.enter_context(closing(Server(url, application.PROJECT, name)))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    database = config.stash[DATABASE] = Database(server, name)
    application.point_to(database.url)


def pytest_configure(config: pytest.Config) -> None:
    """Register the harness's marker."""
    config.addinivalue_line(
        "markers", "real_commits: give this test real connections and real commits."
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Return one line about the answers, the server and the database."""
    database = config.stash[DATABASE]
    return (
        f"harness: {answers.DRIVER}, {answers.ISOLATION}, {answers.LOOP_SCOPE} loop,"
        f" {answers.RUNNER}; {database.server.version}, database {database.name}"
    )


@pytest.fixture(scope="session")
def harness_database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """The run's database, not created yet; what dead runs left behind is dropped."""
    database = pytestconfig.stash[DATABASE]
    configured = application.get_engine().url
    if configured.database != database.url.database:
        pytest.exit(
            f"The application connects to {configured!r}, not to the database of this run,"
            f" {database.url!r}. Let it read its address from {application.VARIABLES}, which"
            " nothing else may set.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    with exit_on_failure(database):
        drop_leftovers(database.server)
    yield database
    with exit_on_failure(database):
        if database.server.databases(database.name):  # it has been created
            database.server.drop(database.name)


def drop_leftovers(server: Server) -> None:
    """Drop the databases of processes that have ended."""
    with server.lock(PREFIX):
        for name, process in databases_of_runs(server):
            if not server.is_alive(process):
                with suppress(HarnessError):  # in spite of its name, tests have not created it
                    server.drop(name)


def databases_of_runs(server: Server) -> list[tuple[str, str]]:
    """Return the databases that processes of runs have created, each with its process."""
    matches = map(RUN_DATABASE.fullmatch, server.databases(PREFIX))
    return [(match[0], match["process"]) for match in matches if match]


@contextmanager
def exit_on_failure(database: Database) -> Iterator[None]:
    """End the run with one line if `database` cannot be created or dropped."""
    try:
        yield
    except FAILURES as error:
        pytest.exit(
            f"The tests cannot make or drop databases on {database.server.url!r}: {error}",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
