"""Keeps the database of a failed test: `pytest --keep-database`, which ends with that test.

Another process does it for a day, or until it is told to end. It looks like the run, so that no
clean-up drops the database, and uses the server, so that this goes on; then it drops the database.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from ..application import PROJECT
from .lifecycle import DATABASE, PLUGIN, SPARED
from .server import Server, server_url

A_DAY: Final = 24 * 60 * 60
IMPORTED_FROM: Final = Path(__file__).parents[PLUGIN.count(".") + 2]  # where `-m` finds it


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    help_ = (
        "end with the first test that fails (not at its tear-down), and keep its database for a day"
    )
    parser.addoption("--keep-database", action="store_true", help=help_)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to keep one of several databases.

    Raises:
        pytest.UsageError: there are several processes.
    """
    if config.getoption("keep_database") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--keep-database keeps the database of one process: add -n 0.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the database of a test that has failed; say where it is."""
    report = yield
    keeps = item.config.getoption("keep_database") and not SPARED
    if keeps and report.failed and call.when != "teardown":
        database = item.config.stash[DATABASE]
        SPARED.add(database.name)
        number = start_keeper(database.name)
        shell = database.server.shell(database.name)
        text = f"{shell}\nIt is dropped in a day, or at once by `kill {number}`."
        report.sections.append(("Database of the test", text))
        item.session.shouldfail = "the database of the failed test is kept"
    return report


def start_keeper(name: str) -> int:
    """Start the process that keeps the database `name` when this one has ended; return its id."""
    read_end, _write_end = os.pipe()  # the latter stays open until this process has ended
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__, name],
        cwd=IMPORTED_FROM,
        stdin=read_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # who reads this process's would wait for its end
        start_new_session=True,
    )
    os.close(read_end)
    keeper.returncode = 0  # nobody waits for it, of which Python would warn
    assert keeper.stdout
    with keeper.stdout as ready:
        ready.readline()
    return keeper.pid


def keep(name: str) -> None:
    """Keep the database `name` until somebody ends this process, or for a day; then drop it."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with server_url() as url:
        print("ready", flush=True)  # noqa: T201
        sys.stdin.read()  # until the run has ended
        with closing(Server(url, PROJECT, name)) as server:
            ended.wait(A_DAY)
            server.drop(name)


if __name__ == "__main__":
    keep(sys.argv[1])
