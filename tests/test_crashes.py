"""Runs are killed, servers stop, disks are full: the message says so, and the next run is clean."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .combinations import BACKENDS, ISOLATIONS, sample
from .conftest import Generate, require_server
from .generated import GeneratedProject, clean_environment
from .pythons import UV
from .test_lifecycle import USAGE_ERROR, administrate, databases, start

KILLS = 4

UNTIL_NOBODY_IS_THERE = """
    DO $$ BEGIN
        WHILE EXISTS (
            SELECT FROM pg_stat_activity WHERE starts_with(application_name, 'test_{package}_')
        ) LOOP
            PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
        END LOOP;
    END $$
"""


@pytest.mark.parametrize(
    ("driver", "isolation"),
    [("psycopg", "clone"), ("asyncmy", "reset"), ("aiosqlite", "savepoint")],
)
def test_killed_runs(generate_installed: Generate, driver: str, isolation: str) -> None:
    package = f"killed_{driver}"
    project = generate_installed(driver=driver, isolation=isolation, package_name=package)
    if driver != "aiosqlite":
        project.variables["TEST_DATABASE_URL"] = require_server(BACKENDS[driver])
    project.run("pytest", "tests/test_items.py")
    started = time.monotonic()
    project.run("pytest", "tests/test_items.py")
    duration = time.monotonic() - started
    for number in range(KILLS):
        process = start(project, "tests/test_items.py", *(["-n", "2"] if number % 2 else []))
        time.sleep(random.uniform(0.2, 1) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if BACKENDS[driver] == "postgresql":  # it may be at work for the killed runs still
        administrate(project, driver, UNTIL_NOBODY_IS_THERE.format(package=package))
    assert " passed" in project.run("pytest", "tests/test_items.py")
    left = databases(project, driver, package)
    assert left
    assert all("_prepared_" in name for name in left), left
    if driver == "aiosqlite":
        folder = Path(tempfile.gettempdir(), f"tests-harness-{os.getuid()}")
        assert not [*folder.glob(f"test_{package}_????????.*")]


ENDLESS = {
    "postgresql": "SELECT pg_sleep(3600)",
    "mysql": "SELECT SLEEP(3600)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n",
}

INTERRUPTED = """
import asyncio
from pathlib import Path

import pytest
from my_app.database import get_session
from my_app.models import Item
from sqlalchemy import text


async def wait(session):
    session.add(Item(name="chair"))
    await session.flush()
    Path("it_waits").touch()
    await session.execute(text("{endless}"))


async def test_statement(session):
    await wait(session)


async def test_next(client, session):
    assert (await client.get("/items")).json() == []
    session.add(Item(name="chair"))
    await session.commit()


async def test_request(app, client, session):
    async def get_slow_session():
        await wait(session)
        yield session

    app.dependency_overrides[get_session] = get_slow_session
    await client.get("/items")


@pytest.fixture
async def arranged(session):
    await wait(session)


async def test_fixture(arranged):
    pass


async def test_next_too(client):
    assert (await client.get("/items")).json() == []
"""


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    sample(
        [
            ("asyncpg", "savepoint", "anyio"),
            ("asyncpg", "savepoint", "pytest-asyncio"),
            ("asyncpg", "reset", "anyio"),
            ("asyncpg", "clone", "pytest-asyncio"),
            ("asyncpg", "create_drop", "pytest-asyncio"),
            ("psycopg", "reset", "pytest-asyncio"),
            ("aiosqlite", "savepoint", "anyio"),
            ("aiosqlite", "reset", "pytest-asyncio"),
            ("aiomysql", "savepoint", "pytest-asyncio"),
            ("asyncmy", "reset", "anyio"),
        ]
    ),
)
def test_a_time_limit_ends_a_test_that_waits_in_a_statement(
    generate_installed: Generate, driver: str, isolation: str, runner: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation, runner=runner)
    install = UV, "pip", "install", "--quiet", "--no-deps", "--target", "plugins"
    project.run(*install, "pytest-timeout")
    tests = INTERRUPTED.format(endless=ENDLESS[BACKENDS[driver]])
    (project.path / "tests/test_interrupted.py").write_text(tests)
    started = time.monotonic()
    output = project.run(
        *("pytest", "--timeout=2", "--timeout-method=signal", "tests/test_interrupted.py"),
        exit_code=1,
        PYTHONPATH=f"src{os.pathsep}plugins",
    )
    assert time.monotonic() - started < 30
    assert failures(output) == ["test_statement", "test_request", "test_fixture"]
    assert output.count("Failed: Timeout (>2.0s)") >= 3
    assert "2 failed, 2 passed, 1 error" in output


@pytest.mark.parametrize("isolation", ["savepoint", "reset"])
def test_an_interrupted_query_of_sqlite(generate_installed: Generate, isolation: str) -> None:
    project = generate_installed(driver="aiosqlite", isolation=isolation)
    tests = INTERRUPTED.format(endless=ENDLESS["sqlite"])
    (project.path / "tests/test_interrupted.py").write_text(tests)
    process = start(project, "tests/test_interrupted.py")
    try:
        while not (project.path / "it_waits").exists():
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == pytest.ExitCode.INTERRUPTED
    finally:
        process.kill()
        process.wait()


POSTGRESQL = """
set -e
cd /
as_owner() {{
    if [ $(id -u) = 0 ]; then setpriv --reuid nobody --clear-groups -- "$@"; else "$@"; fi
}}
programs=$(pg_config --bindir)
control() {{
    ulimit -f 20480  # blocks of 1 KiB; PostgreSQL takes a larger file for a full disk
    as_owner $programs/pg_ctl -D {folder}/data -l {folder}/log -w -o '-p {port} -k {folder}' "$@"
}}
case $1 in
    install) as_owner $programs/initdb -D {folder}/data -A trust -U postgres --no-sync ;;
    start) control start ;;
    stop) control stop -m immediate ;;
    restart) control restart -m immediate ;;
esac
"""

MARIADB = """
set -e
options="--no-defaults --user=$(id -un) --datadir={folder}/data"
start() {{
    setsid mariadbd $options --port={port} --bind-address=127.0.0.1 --socket={folder}/socket \\
        --pid-file={folder}/pid >{folder}/log 2>&1 &
    until mariadb-admin --no-defaults -h127.0.0.1 -P{port} -uroot ping; do sleep 0.1; done
}}
stop() {{
    pid=$(cat {folder}/pid)
    kill -9 $pid
    while kill -0 $pid; do sleep 0.1; done
}}
case $1 in
    install) mariadb-install-db $options --auth-root-authentication-method=normal ;;
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
esac
"""


@dataclass
class OwnServer:
    """A server that a test may do anything to."""

    url: str
    control: Path

    def command(self, action: str) -> str:
        """Return what makes a shell "start" it, or "stop" or "restart" it as by a crash."""
        return f"bash {self.control} {action} >/dev/null 2>&1 </dev/null"


@pytest.fixture
def own_server(driver: str) -> Iterator[OwnServer]:
    """Start a server for a test that says which `driver` it wants."""
    is_mysql = BACKENDS[driver] == "mysql"
    if not shutil.which("mariadb-install-db" if is_mysql else "pg_config"):
        pytest.skip("no such server is installed")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    if os.getuid() == 0 and not is_mysql:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    url = (
        f"mysql://root@127.0.0.1:{port}" if is_mysql else f"postgresql://postgres@127.0.0.1:{port}"
    )
    server = OwnServer(url, folder / "control")
    script = MARIADB if is_mysql else POSTGRESQL
    server.control.write_text(script.format(folder=folder, port=port))
    for action in ("install", "start"):
        subprocess.run(server.command(action), shell=True, check=True, timeout=60)
    yield server
    subprocess.run(server.command("stop"), shell=True, check=False, timeout=60)
    shutil.rmtree(folder)


STOP = """
import os
import pytest
from sqlalchemy import text


async def test_before(session):
    await session.execute(text("SELECT 1"))


async def test_meanwhile(session):
    await session.execute(text("SELECT 1"))
    os.system(os.environ["STOP"])


@pytest.mark.parametrize("attempt", range(4))
async def test_after(session, attempt):
    await session.execute(text("SELECT 1"))
"""


@pytest.mark.parametrize(
    ("driver", "isolation"),
    sample([*product(["asyncpg"], ISOLATIONS), ("asyncmy", "savepoint"), ("asyncmy", "reset")]),
)
def test_a_server_that_stops(
    generate_installed: Generate, driver: str, isolation: str, own_server: OwnServer
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    (project.path / "tests/test_stop.py").write_text(STOP)
    project.variables["TEST_DATABASE_URL"] = own_server.url
    pytest_stop = "pytest", "tests/test_stop.py"

    output = project.run(*pytest_stop, exit_code=1, STOP=own_server.command("restart"))
    assert failures(output) == ["test_meanwhile"]

    process = subprocess.run(
        pytest_stop,
        cwd=project.path,
        env=clean_environment() | project.variables | {"STOP": own_server.command("stop")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode != 0
    assert "The server of the tests is gone" in process.stdout + process.stderr

    subprocess.run(own_server.command("start"), shell=True, check=True, timeout=60)
    project.run(*pytest_stop, STOP="true")
    check_no_leftovers(project, driver, own_server)


def failures(output: str) -> list[str]:
    """Return the names of the tests that pytest says have failed."""
    return re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", output, re.MULTILINE)


def check_no_leftovers(project: GeneratedProject, driver: str, server: OwnServer) -> None:
    """Check that no process has left a database behind.

    Raises:
        AssertionError: one has.
    """
    names = administrate(project, driver, url=server.url).split()
    assert not [name for name in names if re.fullmatch(r"test_my_app_[0-9a-f]{8}(_\d+)?", name)]


FILL = """
from sqlalchemy import text

LONG = "(SELECT string_agg(md5(concat(random(), n, m)), '') FROM generate_series(1, 30) m)"


async def test_before(session):
    await session.execute(text("SELECT 1"))


async def test_meanwhile(session):
    await session.execute(text(
        "INSERT INTO items (name, description)"
        f" SELECT concat(n), {LONG} FROM generate_series(1, 40000) n"
    ))
    await session.commit()


async def test_after(session):
    assert (await session.execute(text("SELECT count(*) FROM items"))).scalar_one() == 0
"""


@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("isolation", ["savepoint", "clone"])
def test_a_server_whose_disk_is_full(
    generate_installed: Generate, driver: str, isolation: str, own_server: OwnServer
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    (project.path / "tests/test_fill.py").write_text(FILL)
    project.variables["TEST_DATABASE_URL"] = own_server.url
    output = project.run("pytest", "tests/test_fill.py", exit_code=1)
    assert failures(output) == ["test_meanwhile"]
    assert "could not extend file" in output
    project.run("pytest", "tests/test_items.py")
    check_no_leftovers(project, driver, own_server)


def test_a_full_disk(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset", package_name="full")
    limited = "ulimit -f 4; exec pytest -p no:cacheprovider tests/test_items.py"  # blocks of 1 KiB
    without = {"PYTHONDONTWRITEBYTECODE": "1"}  # which would be cut off, too
    output = project.run("bash", "-c", limited, exit_code=USAGE_ERROR, **without)
    assert "The migrations fail" in output or "The tests cannot make or drop databases" in output
    project.run("pytest", "tests/test_items.py")
    assert all("_prepared_" in name for name in databases(project, "aiosqlite", "full"))


def test_a_role_that_may_not_create_databases(generate_installed: Generate) -> None:
    project = generate_installed(isolation="reset")
    url = urlsplit(require_server("postgresql"))
    drop = "DROP ROLE IF EXISTS loopsafe_bound"
    administrate(project, "asyncpg", drop, "CREATE ROLE loopsafe_bound LOGIN")
    address = f"postgresql://loopsafe_bound@{url.hostname}:{url.port}/postgres"
    output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=address)
    assert output.count("The tests cannot make or drop databases") == 1
    assert "permission denied to create database" in output
    administrate(project, "asyncpg", drop)


def test_a_server_without_connections_to_spare(generate_installed: Generate) -> None:
    project = generate_installed(isolation="reset", package_name="crowded")
    url = require_server("postgresql")
    role = "CREATE ROLE loopsafe_crowded LOGIN CREATEDB CONNECTION LIMIT {}"
    for limit, message in ((0, "No PostgreSQL server for tests at"), (1, "The tests cannot make")):
        administrate(project, "asyncpg", "DROP ROLE IF EXISTS loopsafe_crowded", role.format(limit))
        crowded = urlsplit(url)
        address = f"postgresql://loopsafe_crowded@{crowded.hostname}:{crowded.port}/postgres"
        output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=address)
        assert message in output
        assert "too many connections for role" in output
    administrate(project, "asyncpg", "DROP ROLE loopsafe_crowded")
