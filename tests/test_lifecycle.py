"""Databases come and go, whatever happens to a run; none is touched that tests did not make."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import owner
from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import GeneratedProject, clean_environment
from .owner import append

USAGE_ERROR = pytest.ExitCode.USAGE_ERROR
KILLS = 20

SERVER = {
    "asyncpg": "postgresql://postgres@127.0.0.1:5432",
    "psycopg": "postgresql://postgres@127.0.0.1:5432",
    "asyncmy": "mysql://root@127.0.0.1:3306",
    "aiomysql": "mysql://root@127.0.0.1:3306",
}


@pytest.mark.parametrize(
    ("driver", "url"),
    [
        ("asyncpg", "/shop"),
        ("asyncpg", "/POSTGRES"),
        ("asyncpg", "/?database=shop"),
        ("asyncpg", "/postgres?options=-csearch_path%3Dshop"),
        ("psycopg", "/shop?sslmode=prefer"),
        ("psycopg", "/postgres?dbname=shop"),
        ("psycopg", "/postgres?service=production"),
        ("asyncmy", "/shop"),
        ("asyncmy", "/MYSQL"),
        ("aiomysql", "/?db=shop"),
        ("aiomysql", "/?read_default_file=production.cnf"),
        ("aiosqlite", "sqlite:///production.db"),
        ("aiosqlite", "sqlite+aiosqlite:////tmp/PRODUCTION.db?mode=rw"),
    ],
)
def test_a_database_cannot_be_named(generate_installed: Generate, driver: str, url: str) -> None:
    project = generate_installed(driver=driver)
    (project.path / "src/my_app/__init__.py").write_text("print('it has been imported')")
    (project.path / "production.db").touch()
    address = SERVER.get(driver, "") + url
    output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=address)
    assert "TEST_DATABASE_URL names more than a server" in output or "on SQLite" in output
    assert output.count("ERROR: ") == 1
    assert "imported" not in output
    assert (project.path / "production.db").read_bytes() == b""


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite"])
def test_migrations_cannot_go_elsewhere(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    elsewhere = {
        "asyncpg": "postgresql+asyncpg://postgres@127.0.0.1/postgres",
        "aiosqlite": "sqlite+aiosqlite:///production.db",
    }[driver]
    address = "settings.database_url.get_secret_value(), pool"
    owner.replace(project.path / "migrations/env.py", address, f"'{elsewhere}', pool")
    output = project.run("pytest", exit_code=USAGE_ERROR)
    assert "migrations/env.py connects to another database than that of the tests" in output
    assert not (project.path / "production.db").exists()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_migrations_may_leave_connections(generate_installed: Generate, driver: str) -> None:
    """An env.py need not dispose of its engine, which may have a pool."""
    project = generate_installed(driver=driver)
    file = project.path / "migrations/env.py"
    owner.replace(file, ", poolclass=NullPool)", f")  # {secrets.token_hex()}")
    keep = "context.kept = (await connection.get_raw_connection()).driver_connection"
    run = "        await connection.run_sync"
    owner.replace(file, run, f"        {keep}\n{run}")
    project.run("pytest", "tests/test_items.py")


COUNT = """

with open("runs.txt", "a") as file:
    file.write("once ")  # {unique}
"""


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite", "aiomysql"])
def test_migrations_run_once_until_they_change(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, package_name=f"once_{driver}", isolation="reset")
    migration = project.path / "migrations/versions/0001_items.py"
    runs = project.path / "runs.txt"
    # Or an earlier run of this test may have left a database that is just the same.
    migration.write_text(migration.read_text() + COUNT.format(unique=secrets.token_hex()))
    project.run("pytest", "-n", "2", "tests/test_items.py")
    assert runs.read_text().split() == ["once"]
    project.run("pytest", "tests/test_items.py")
    assert runs.read_text().split() == ["once"]
    migration.write_text(migration.read_text() + "# changed\n")
    project.run("pytest", "tests/test_items.py")
    assert runs.read_text().split() == ["once", "once"]


USES = """

from importlib import import_module
from pathlib import Path

from my_app.countries import COUNTRIES

SEEDS = Path("seeds")
seeds = [file.read_text() for file in sorted(SEEDS.glob("*.sql"))]
by_name = import_module("my_app.by_name").VALUE
with open("runs.txt", "a") as file:
    file.write("once ")  # {unique}
"""
COUNTRIES = """
from pathlib import Path

from . import regions as these
from .health import router

COUNTRIES = [Path(__file__).with_name("countries.txt").read_text(), these.REGIONS]
"""

INPUTS = """
from pathlib import Path

import pytest
from tests.harness.database import inputs, prepared


@pytest.mark.parametrize(
    ("path", "is_used"),
    [
        ("src/my_app/countries.py", True),
        ("src/my_app/countries.txt", True),
        ("src/my_app/regions.py", True),
        ("src/my_app/by_name.py", True),
        ("seeds/a.sql", True),
        ("seeds/b.sql", True),
        ("src/my_app/main.py", False),
        ("src/my_app/unused.py", False),
        ("tests/test_items.py", False),
        ("tests/unused.txt", False),
    ],
)
async def test_inputs(session, harness_database, path, is_used):
    key, file = prepared.digest(harness_database), Path(path)
    before = inputs.digest_with_inputs(key)
    content = file.read_text() if file.exists() else None
    file.write_text(f"{content or ''}\\n")
    assert (inputs.digest_with_inputs(key) != before) == is_used
    file.unlink()
    assert (inputs.digest_with_inputs(key) != before) == (is_used and content is not None)
    if content is not None:
        file.write_text(content)
    assert inputs.digest_with_inputs(key) == before


async def test_what_tests_read_is_no_input(session):
    file = Path("read.txt").resolve()
    file.write_text("a")
    assert file.read_text() == "a"
    assert file not in inputs.files_read
"""


def test_migrations_run_again_when_what_they_use_changes(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset")
    migration = project.path / "migrations/versions/0001_items.py"
    append(migration, USES.format(unique=secrets.token_hex()))
    package = project.path / "src/my_app"
    for path, content in {
        package / "countries.py": COUNTRIES,
        package / "countries.txt": "Chad",
        package / "regions.py": "REGIONS = 1",
        package / "by_name.py": "VALUE = 1",
        package / "unused.py": "VALUE = 1",
        project.path / "seeds/a.sql": "SELECT 1",
        project.path / "tests/test_inputs.py": INPUTS,
    }.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    main = package / "main.py"  # so that they have been imported before the migrations run
    main.write_text(f"import my_app.by_name\nimport my_app.countries\n{main.read_text()}")

    def runs() -> int:
        project.run("pytest", "tests/test_inputs.py")
        return len((project.path / "runs.txt").read_text().split())

    assert runs() == 1
    assert runs() == 1
    append(package / "countries.txt", "\n")
    assert runs() == 2


SLOW = """
import asyncio

async def test_slow(session):
    await asyncio.sleep(3600)
"""


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite", "aiomysql"])
def test_outdated_databases_are_dropped(generate_installed: Generate, driver: str) -> None:
    package = f"outdated_{driver}"
    project = generate_installed(driver=driver, package_name=package, isolation="reset")
    if driver != "aiosqlite":
        project.variables["TEST_DATABASE_URL"] = require_server(BACKENDS[driver])
    migration = project.path / "migrations/versions/0001_items.py"
    source = migration.read_text()

    def run_with_another_migration() -> int:
        migration.write_text(f"{source}# {secrets.token_hex()}\n")
        project.run("pytest", "tests/test_health.py")
        return sum("_prepared_" in name for name in databases(project, driver, package))

    with running_until_killed(project, driver, package):
        for _ in range(5):
            counted = run_with_another_migration()
        assert counted > 5  # which the other process might be about to clone
    assert run_with_another_migration() == 5


REFUSED = """
import gc

import pytest
from tests.harness.database.admin import AdminConnection
from tests.harness.errors import ServerError


def test_refused(harness_database):
    database = harness_database
    with pytest.raises(ServerError):
        AdminConnection(database.url.set(database="missing"))
    gc.collect()  # a loop that was left open would complain
"""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "aiomysql", "asyncmy"])
def test_a_refused_connection_leaves_nothing(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    (project.path / "tests/test_refused.py").write_text(REFUSED)
    project.run("pytest", "tests/test_refused.py")


def test_models_are_prepared_again_when_they_change(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="reset", schema="models")
    columns = """
from sqlalchemy import text

async def test_columns(session):
    columns = await session.execute(text("SELECT name FROM pragma_table_info('items')"))
    print(sorted(columns.scalars()))
"""
    (project.path / "tests/test_columns.py").write_text(columns)
    assert "'size'" not in project.run("pytest", "-s", "tests/test_columns.py")
    models = project.path / "src/my_app/models.py"
    source = models.read_text()
    models.write_text(
        source.replace("    name: Mapped", "    size: Mapped[int | None]\n    name: Mapped", 1)
    )
    assert "'size'" in project.run("pytest", "-s", "tests/test_columns.py")


ADMINISTRATE = """
import asyncio, sys
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

LIST = {"postgresql": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}

async def main(address, driver, database, *statements):
    url = make_url(address)
    backend = url.drivername
    url = url.set(drivername=f"{backend}+{driver}", database=database)
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
        print(*(await connection.exec_driver_sql(LIST[backend])).scalars().all())
    await engine.dispose()

asyncio.run(main(*sys.argv[1:]))
"""


def databases(project: GeneratedProject, driver: str, package: str) -> set[str]:
    """Return the names of the databases on the server that begin as those of `package` do."""
    if driver == "aiosqlite":
        folder = Path(tempfile.gettempdir(), f"tests-harness-{os.getuid()}")
        names = [file.stem for file in folder.glob("*.db")]
    else:
        names = administrate(project, driver).split()
    return {name for name in names if name.startswith(f"test_{package}_")}


def administrate(
    project: GeneratedProject,
    driver: str,
    *statements: str,
    database: str | None = None,
    url: str | None = None,
) -> str:
    """Execute `statements` on the server; return the names of all databases."""
    database = database or ("postgres" if BACKENDS[driver] == "postgresql" else "")
    url = url or require_server(BACKENDS[driver])
    return project.run("python", "-c", ADMINISTRATE, url, driver, database, *statements)


ROUTINE = {
    "asyncpg": "CREATE FUNCTION precious() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "aiomysql": "CREATE PROCEDURE precious() SELECT 1",
}


@pytest.mark.parametrize("driver", ["asyncpg", "aiomysql"])
def test_leftovers_are_dropped_and_nothing_else(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver, package_name=f"leaves_{driver}")
    package = f"leaves_{driver}"
    project.variables["TEST_DATABASE_URL"] = require_server(BACKENDS[driver])
    empty, half = f"test_{package}_00000000", f"test_{package}_22222222"
    foreign = {
        f"test_{package}_11111111": "CREATE TABLE precious (id int)",
        f"test_{package}_33333333": ROUTINE[driver],
        f"test_{package}_2026": "SELECT 1",  # it is not called as ours are
    }
    for name in (empty, *foreign):
        administrate(project, driver, f"CREATE DATABASE {name}")
    if driver == "asyncpg":  # as a server leaves it that crashes while it drops it
        invalid = f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{half}'"
        administrate(project, driver, f"CREATE DATABASE {half}", invalid)
    try:
        for name, statement in foreign.items():
            administrate(project, driver, statement, database=name)
        with running_until_killed(project, driver, package):
            pass
        assert databases(project, driver, package) > {*foreign}
        project.run("pytest", "tests/test_items.py")
        left = databases(project, driver, package)
        assert {name for name in left if "_prepared_" not in name} == {*foreign}
    finally:
        administrate(project, driver, *(f"DROP DATABASE {name}" for name in foreign))


@contextmanager
def running_until_killed(project: GeneratedProject, driver: str, package: str) -> Iterator[None]:
    """Run a test that does not end, from when it has a database of its own; then kill the run."""
    (project.path / "tests/test_slow.py").write_text(SLOW)
    before = databases(project, driver, package)
    process = start(project, "tests/test_slow.py")
    try:
        deadline = time.monotonic() + 60
        while all("_prepared_" in name for name in databases(project, driver, package) - before):
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield
    finally:
        process.kill()
        process.wait()


def test_a_link_is_not_followed(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", package_name="links")
    production = project.path / "production.db"
    production.write_bytes(b"")
    folder = Path(tempfile.gettempdir(), f"tests-harness-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / "test_links_00000000.db"
    link.unlink(missing_ok=True)
    link.symlink_to(production)
    try:
        project.run("pytest")
        assert link.is_symlink()
        assert production.read_bytes() == b""
    finally:
        link.unlink()


# A shell that has started these tests in the background ignores Ctrl-C, and so would they.
RUN_PYTEST = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp("pytest", sys.argv)
"""


def start(project: GeneratedProject, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start pytest in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN_PYTEST, *arguments],
        cwd=project.path,
        env=clean_environment() | project.variables | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


STUBBORN = """
import asyncio

kept = []


async def go_on():
    while True:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            pass


async def test_stubborn():
    kept.append(asyncio.create_task(go_on()))
    await asyncio.sleep(0)


async def test_next():
    pass
"""


def test_a_task_that_cannot_be_cancelled_is_named(generate_installed: Generate) -> None:
    """Whoever closes a loop waits for its tasks, without a limit."""
    project = generate_installed(driver="aiosqlite", loop_scope="function", runner="anyio")
    (project.path / "tests/test_stubborn.py").write_text(STUBBORN)
    output = project.run("pytest", "tests/test_stubborn.py", exit_code=1)
    assert "* the task go_on at tests/test_stubborn.py:" in output
    assert "2 passed, 1 error" in output


ENDLESS = """
import asyncio
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from tests.harness.errors import HarnessError
from tests.harness.running import lifespan


@asynccontextmanager
async def go_on(_):
    yield
    await asyncio.Event().wait()


async def test_it_is_said(monkeypatch):
    monkeypatch.setattr(lifespan, "SHUTDOWN_TIMEOUT", 0.2)
    with pytest.raises(HarnessError, match="has not shut down within 0.2 seconds"):
        async with lifespan.running(FastAPI(lifespan=go_on)):
            pass
"""


def test_a_shutdown_that_does_not_end_is_no_hang(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    (project.path / "tests/test_endless.py").write_text(ENDLESS)
    assert "1 passed" in project.run("pytest", "tests/test_endless.py")


RECONNECTING = """
import asyncio
import threading

import asyncpg
import pytest


async def reconnect(url, stop):
    while not stop.is_set():
        try:
            connection = await asyncpg.connect(url)
            await connection.close()
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module", autouse=True)
def other_process(engine):
    stop = threading.Event()
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    threads = [
        threading.Thread(target=asyncio.run, args=[reconnect(url, stop)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("attempt", range(20))
async def test_it_is_cloned(client, attempt):
    assert (await client.post("/items", json={"name": "chair"})).status_code == 201
"""


def test_a_clone_takes_the_place_of_one_to_which_others_connect(
    generate_installed: Generate,
) -> None:
    project = generate_installed(isolation="clone")
    (project.path / "tests/test_reconnecting.py").write_text(RECONNECTING)
    assert "20 passed" in project.run("pytest", "tests/test_reconnecting.py")
