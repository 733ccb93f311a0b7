"""Which server tests use, and what is said when there is none."""

import re

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server

USAGE_ERROR = 4


@pytest.mark.parametrize(
    ("driver", "isolation"),
    [
        ("asyncpg", "reset"),
        ("asyncpg", "create_drop"),
        ("psycopg", "savepoint"),
        ("psycopg", "clone"),
        ("asyncmy", "savepoint"),
        ("aiomysql", "create_drop"),
    ],
)
def test_another_server(generate_installed: Generate, driver: str, isolation: str) -> None:
    url = require_server(BACKENDS[driver])
    project = generate_installed(driver=driver, isolation=isolation)
    project.run("pytest", TEST_DATABASE_URL=url)


LOCAL_SERVER = """
def test_server(engine):
    url = engine.url
    assert (url.host, url.port, url.username, url.password) == ("127.0.0.1", 5432, "postgres", None)
"""


def test_no_server_of_its_own(generate_installed: Generate) -> None:
    """Tests use the server of this machine, or say what they need."""
    require_server("postgresql")
    project = generate_installed(private_server=False)
    files = project.files()
    assert "tests/harness/database/supervisor.py" not in files
    assert not [path for path, text in files.items() if "embedded" in text]
    project.check()
    (project.path / "tests/test_server.py").write_text(LOCAL_SERVER)
    project.run("pytest")
    nobody_there = "postgresql://postgres@127.0.0.1:1/postgres"
    output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=nobody_there)
    assert "\nStart it, or set TEST_DATABASE_URL=postgresql://user:password@host:5432/" in output


def test_libpq_is_not_led_astray(generate_installed: Generate) -> None:
    project = generate_installed(driver="psycopg")
    project.variables["PGHOSTADDR"] = "203.0.113.1"
    project.variables["PGSERVICE"] = "production"
    project.variables["PGSSLMODE"] = "require"
    project.run("pytest", "tests/test_items.py")


@pytest.mark.parametrize(
    ("driver", "url", "message"),
    [
        (
            "asyncpg",
            "postgresql://me:secret@127.0.0.1:1/postgres",
            r"ERROR: No PostgreSQL server for tests at postgresql\+asyncpg://me:\*\*\*@127.0.0.1:1",
        ),
        (
            "psycopg",
            "postgresql://me:secret@127.0.0.1:1/postgres",
            r"ERROR: No PostgreSQL server for tests at postgresql\+psycopg://me:\*\*\*@127.0.0.1:1",
        ),
        (
            "asyncmy",
            "mysql://me:secret@127.0.0.1:1",
            r"ERROR: No MariaDB or MySQL server for tests at mysql\+asyncmy://me:\*\*\*@127.0.0.1",
        ),
        (
            "aiomysql",
            "mysql://me:secret@127.0.0.1:1",
            r"ERROR: No MariaDB or MySQL server for tests at mysql\+aiomysql://me:\*\*\*@127.0.0.1",
        ),
        ("asyncpg", "mysql://127.0.0.1", "not the address of a PostgreSQL server"),
        ("asyncmy", "postgresql://127.0.0.1", "not the address of a MariaDB or MySQL server"),
        ("asyncpg", "nonsense", "not the address of a PostgreSQL server"),
        ("aiosqlite", "sqlite:///some.db", "these tests run on SQLite"),
    ],
)
def test_no_server(generate_installed: Generate, driver: str, url: str, message: str) -> None:
    project = generate_installed(driver=driver)
    output = project.run("pytest", exit_code=USAGE_ERROR, TEST_DATABASE_URL=url)
    assert re.search(message, output)
    assert output.count("ERROR: ") == 1
    assert "Traceback" not in output
    assert "secret" not in output


def test_an_application_with_another_database_is_not_touched(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    production = project.path / "production.db"
    settings = project.path / "src/my_app/settings.py"
    fixed = f"settings = Settings(database_url='sqlite+aiosqlite:///{production}')"
    settings.write_text(settings.read_text().replace("settings = load_settings()", fixed))
    output = project.run("pytest", exit_code=USAGE_ERROR)
    assert "The application connects to sqlite+aiosqlite:///" in output
    assert "Let it read its address from DATABASE_URL, which nothing" in output
    assert not production.exists()


def test_neither_env_nor_environment_matters(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    production = project.path / "production.db"
    url = f"sqlite+aiosqlite:///{production}"
    (project.path / ".env").write_text(f"DATABASE_URL={url}\n")
    project.run("pytest", DATABASE_URL=url)
    assert not production.exists()


def test_an_application_that_is_imported_too_early_is_refused(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    pyproject = project.path / "pyproject.toml"
    late = '["-p", "my_app.settings", "-p", "tests.harness"]'
    pyproject.write_text(pyproject.read_text().replace('["-p", "tests.harness"]', late))
    output = project.run("pytest", exit_code=USAGE_ERROR, DATABASE_URL="sqlite+aiosqlite://")
    assert "ERROR: my_app was imported before the harness could point it" in output


@pytest.mark.parametrize("driver", ["asyncpg", "aiomysql"])
def test_no_database_is_left(generate_installed: Generate, driver: str) -> None:
    url = require_server(BACKENDS[driver])
    project = generate_installed(driver=driver, package_name="leaves_nothing")
    (project.path / "tests/test_failing.py").write_text(
        "async def test_fails(session): raise KeyboardInterrupt"
    )
    project.run("pytest", exit_code=pytest.ExitCode.INTERRUPTED, TEST_DATABASE_URL=url)
    listing = project.run("python", "-c", LIST_DATABASES, url, driver)
    assert "postgres" in listing or "mysql" in listing
    assert "test_leaves_nothing_prepared_" in listing  # for the next run
    assert not re.search(r"test_leaves_nothing_(?!prepared)", listing)


LIST_DATABASES = """
import asyncio, sys
from sqlalchemy import inspect, make_url
from sqlalchemy.ext.asyncio import create_async_engine

QUERIES = {"postgresql": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}

async def main():
    url = make_url(sys.argv[1])
    engine = create_async_engine(url.set(drivername=f"{url.drivername}+{sys.argv[2]}"))
    async with engine.connect() as connection:
        query = QUERIES[url.drivername]
        print((await connection.exec_driver_sql(query)).scalars().all())
    await engine.dispose()

asyncio.run(main())
"""


@pytest.mark.parametrize("driver", [name for name in BACKENDS if BACKENDS[name] == "postgresql"])
def test_the_address_passes_validators(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    settings = project.path / "src/my_app/settings.py"
    text = settings.read_text().replace("database_url: DatabaseUrl", "database_url: PostgresDsn")
    settings.write_text(
        text.replace("from pydantic", "from pydantic import PostgresDsn\nfrom pydantic", 1)
    )
    for name in ("src/my_app/database.py", "migrations/env.py"):
        file = project.path / name
        text = file.read_text()
        file.write_text(
            text.replace("database_url.get_secret_value()", "database_url.encoded_string()")
        )
    project.run("pytest", "tests/test_health.py")
