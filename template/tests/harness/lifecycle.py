"""The run's database: found or started before the application is imported, dropped at the end."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from sqlalchemy import URL

from . import answers, application, backend
from .errors import HarnessError


@dataclass(frozen=True)
class Database:
    """The database that belongs to this run (under pytest-xdist: to this worker)."""

    server: URL
    version: str
    name: str

    @property
    def url(self) -> URL:
        """The address of the database, for the driver that was chosen."""
        return backend.database_url(self.server, self.name)


DATABASE: Final = pytest.StashKey[Database]()


def point_application_to_database(config: pytest.Config) -> None:
    """Point the application to a database of this run's own, before anything can import it.

    Raises:
        pytest.UsageError: it has been imported already, or there is no server.
    """
    if application.PACKAGE in sys.modules:
        raise pytest.UsageError(
            f"{application.PACKAGE} was imported before the harness could point it to a database"
            " for tests. Load the harness first: addopts = ['-p', 'tests.harness', ...]"
        )
    cleanup = ExitStack()
    config.add_cleanup(cleanup.close)
    try:
        server = cleanup.enter_context(backend.server())
        version = outside_loops(backend.version, server)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_{application.PACKAGE}_{secrets.token_hex(4)}_{worker}"
    database = config.stash[DATABASE] = Database(server, version, name)
    os.environ[application.DATABASE_URL] = database.url.render_as_string(hide_password=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the harness's marker."""
    config.addinivalue_line(
        "markers", "real_commits: give this test real connections and real commits."
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say in one line what runs."""
    database = config.stash[DATABASE]
    return (
        f"harness: {answers.DRIVER}, {answers.ISOLATION}, {answers.LOOP_SCOPE} loop,"
        f" {answers.RUNNER}; {database.version}, database {database.name}"
    )


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config) -> Iterator[Database]:
    """The run's database, empty. Its name is new and creating it fails if it exists, so what is
    dropped at the end is what was made here."""
    database = pytestconfig.stash[DATABASE]
    configured = application.get_engine().url
    if configured != database.url:
        pytest.exit(
            f"The application connects to {configured!r}, not to the database of this run,"
            f" {database.url!r}. Let it read its address from {application.DATABASE_URL}.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    try:
        outside_loops(backend.create, database.server, database.name)
    except Exception as error:
        pytest.exit(
            f"The tests cannot create a database on {database.server!r}: {error}",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    yield database
    outside_loops(backend.drop, database.server, database.name)


def outside_loops(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` in a thread of its own, where no event loop runs or is remembered.

    Raises whatever `function` raises.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(function, *args).result()
