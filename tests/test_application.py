"""The application, as its owner gets it: what it promises is broken on purpose, and noticed."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from . import owner
from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import GeneratedProject
from .pythons import UV

ADDRESSES = {
    "asyncpg": {
        "postgres://ann:p%40ss@db/shop": "postgresql+asyncpg://ann:p%40ss@db/shop",
        "postgresql+asyncpg://db/shop?ssl=require": "postgresql+asyncpg://db/shop?ssl=require",
        "postgresql://ann:secret@home@db/shop": "is no valid address; write postgresql://",
        "postgresql+asyncpg://db/shop?sslmode=require": "begin it with postgresql://",
        "postgresql+psycopg://db/shop": "begins with postgresql+psycopg://, not with",
        "postgresql://db/shop?channel_binding=require": "leave them out: channel_binding",
    },
    "psycopg": {
        "postgres://ann:p%40ss@db/shop": "postgresql+psycopg://ann:p%40ss@db/shop",
        "postgresql://db/shop?sslmode=require": "postgresql+psycopg://db/shop?sslmode=require",
        "postgresql://ann:secret@home@db/shop": "is no valid address; write postgresql://",
        "mysql://db/shop": "begins with mysql://, not with",
    },
    "aiosqlite": {
        "sqlite:////data/shop.db": "sqlite+aiosqlite:////data/shop.db",
        "/data/shop.db": "is no valid address; write sqlite:///",
    },
    "asyncmy": {
        "mariadb://ann:p%40ss@db/shop": "mysql+asyncmy://ann:p%40ss@db/shop",
        "mysql+aiomysql://db/shop": "begins with mysql+aiomysql://, not with",
        "mysql://db/shop?ssl-mode=REQUIRED": "asks for TLS by an option that asyncmy",
    },
    "aiomysql": {"mysql://db/shop?charset=utf8mb4": "mysql+aiomysql://db/shop?charset=utf8mb4"},
}
"""What becomes of addresses, or what is said of them."""
TRANSLATE = """
import json, sys
from my_app.settings import Settings

for address in json.loads(sys.argv[1]):
    try:
        print(Settings(database_url=address).database_url.get_secret_value())
    except ValueError as error:
        print(str(error).replace("\\n", " "))
"""
CONNECT = """
import asyncio
from my_app.database import engine

async def main():
    async with engine.connect() as connection:
        print((await connection.exec_driver_sql("SHOW application_name")).scalar())

asyncio.run(main())
"""


@pytest.mark.parametrize("driver", BACKENDS)
def test_addresses(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    known = ADDRESSES[driver]
    command = "python", "-c", TRANSLATE, json.dumps([*known])
    output = project.run(*command, DATABASE_URL=next(iter(known)))
    for line, expected in zip(output.splitlines(), known.values(), strict=True):
        assert line == expected if "://" in expected.split()[0] else expected in line
        assert "secret" not in line


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_options_of_an_address_reach_the_driver(generate_installed: Generate, driver: str) -> None:
    project = generate_installed(driver=driver)
    address = require_server("postgresql")
    found = "?sslmode=prefer&application_name=shop"
    assert "shop\n" in project.run("python", "-c", CONNECT, DATABASE_URL=address + found)
    wrong = "?sslmode=verify-full&sslrootcert=nowhere.pem"
    output = project.run("python", "-c", CONNECT, exit_code=1, DATABASE_URL=address + wrong)
    assert re.search(r"nowhere\.pem|load_verify_locations|does not support SSL", output)


def test_what_is_missing_is_said_in_words(generate_installed: Generate) -> None:
    """By servers and by Alembic; no value of another variable is shown."""
    project = generate_installed(driver="aiosqlite")
    (project.path / ".env").write_text("DATABASE_ULR=sqlite:///secret.db\n")
    for command in (("fastapi", "run"), ("alembic", "upgrade", "head")):
        output = project.run(*command, exit_code=1)
        assert "Set in the environment or .env (see .env.example), for tests in " in output
        assert "* DATABASE_URL: Field required" in output
        assert "Traceback" not in output
        assert "secret" not in output


@pytest.mark.parametrize("driver", [driver for driver in BACKENDS if driver != "aiosqlite"])
def test_a_database_that_is_not_there(generate_installed: Generate, driver: str) -> None:
    """Alembic says so in words, and no password."""
    project = generate_installed(driver=driver)
    address = f"{BACKENDS[driver]}://ann:hunter2@127.0.0.1:1/shop"
    output = project.run("alembic", "upgrade", "head", exit_code=255, DATABASE_URL=address)
    assert "FAILED: The database cannot be reached: " in output
    assert "Traceback" not in output
    assert "hunter2" not in output


PAGE = """
from fastapi.responses import HTMLResponse
from my_app.main import create_app


def test_errors_are_problems_where_answers_are_none():
    app = create_app()
    app.add_api_route("/page", lambda: "", response_class=HTMLResponse)
    responses = app.openapi()["paths"]["/page"]["get"]["responses"]
    assert [*responses["200"]["content"]] == ["text/html"]
    assert [*responses["default"]["content"]] == ["application/problem+json"]
"""


def test_the_document_of_routes_with_other_media_types(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    (project.path / "tests/test_page.py").write_text(PAGE)
    project.run("pytest", "tests/test_page.py")


def test_logs(generate_installed: Generate) -> None:
    """A line for each request and one for its error, as JSON, with the id and without secrets."""
    project = generate_installed()
    database_url = "postgres://ann:hunter2@127.0.0.1:1/shop"
    with project.serve("fastapi", "run", DATABASE_URL=database_url) as server:
        server.fetch("/health/live")
        for path in ("/health/ready", "/items?token=hunter2"):
            request = Request(server.address + path, headers={"X-Request-ID": "mine"})
            with pytest.raises(HTTPError) as error:
                urlopen(request)
            assert error.value.headers["X-Request-ID"] == "mine"
            assert error.value.headers["Content-Type"] == "application/problem+json"
            assert b"refused" not in error.value.read()
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    lines = [line for line in lines if line.get("request_id") == "mine"]
    assert [line.get("status") or line["level"] for line in lines] == ["warning", 503, 500, "error"]
    assert "refused" in lines[0]["event"]
    assert "ConnectionRefusedError" in lines[3]["exception"]
    assert "hunter2" not in text
    assert "GET /" not in text  # uvicorn's own


EXECUTE = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine

async def main(address, statement):
    engine = create_async_engine(address, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def database(project: GeneratedProject, driver: str) -> Iterator[str]:
    """Make a database for `project` to run on; give its address; drop it."""
    if driver == "aiosqlite":
        yield "sqlite:///shop.db"
        return
    backend, name = BACKENDS[driver], f"shop_{driver}"
    server = require_server(backend).removesuffix("/postgres")
    address = server.replace(backend, f"{backend}+{driver}", 1)
    command = "python", "-c", EXECUTE, f"{address}{'/postgres' * (backend == 'postgresql')}"
    project.run(*command, f"DROP DATABASE IF EXISTS {name}")  # a run that was killed may leave it
    project.run(*command, f"CREATE DATABASE {name}")
    try:
        yield f"{server}/{name}"
    finally:
        project.run(*command, f"DROP DATABASE {name}")


@pytest.mark.parametrize("driver", BACKENDS)
def test_it_does_what_its_document_says(generate_installed: Generate, driver: str) -> None:
    """schemathesis makes requests of its OpenAPI document, right ones and wrong ones."""
    project = generate_installed(driver=driver)
    tool = UV, "tool", "run", "--quiet", "schemathesis", "run"
    options = (
        f"--max-examples={os.environ.get('EXAMPLES', '10')}",
        "--generation-database=none",
        "--checks=all",
        "--exclude-checks=allow_header_conformance",  # Starlette names one route's methods in it
    )
    with database(project, driver) as database_url:
        project.run("alembic", "upgrade", "head", DATABASE_URL=database_url)
        with project.serve("fastapi", "run", DATABASE_URL=database_url) as server:
            server.fetch("/health/live")
            project.run(*tool, *options, f"{server.address}/openapi.json")


RACE = """
import asyncio

import pytest
from my_app.models import Item


@pytest.mark.parametrize("attempt", range(30))
async def test_race(client, session, attempt):
    item = Item(name="chair")
    session.add(item)
    await session.commit()
    path, body = f"/items/{item.id}", {"name": "table"}
    requests = [
        client.put(path, json=body), client.delete(path), client.get(path), client.delete(path)
    ]
    responses = await asyncio.gather(*requests[attempt % 4:], *requests[:attempt % 4])
    assert {response.status_code for response in responses} <= {200, 204, 404, 409}
    assert (await client.get(path)).status_code == 404
"""


@pytest.mark.parametrize(("driver", "isolation"), [("asyncpg", "savepoint"), ("psycopg", "reset")])
def test_requests_that_race(generate_installed: Generate, driver: str, isolation: str) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    (project.path / "tests/test_race.py").write_text(RACE)
    assert "30 passed" in project.run("pytest", "tests/test_race.py")


HELD = """
from fastapi import BackgroundTasks
from my_app.database import SessionDep, engine
from my_app.main import app
from sqlalchemy import text

held = []


@app.get("/held")
async def read(session: SessionDep, background: BackgroundTasks) -> None:
    await session.execute(text("SELECT 1"))
    held.append(engine.pool.checkedout())
    background.add_task(lambda: held.append(engine.pool.checkedout()))


async def test_what_a_request_holds(client):
    await client.get("/held")
    assert held == [1, 0]
"""


def test_who_answers_slowly_keeps_no_connection(generate_installed: Generate) -> None:
    project = generate_installed()
    (project.path / "tests/test_held.py").write_text(HELD)
    project.run("pytest", "tests/test_held.py")


MIGRATION = """
def upgrade() -> None:
    op.execute(sa.text("UPDATE items SET name = 'chair'"))
"""


WITH_TIMES = """
import datetime

from my_app.database import session_factory
from my_app.models import Base
from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column


class Visit(Base):
    __tablename__ = "visits"

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str | None] = mapped_column(String(10))
    changed: Mapped[datetime.datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now()
    )


async def test_what_the_database_sets_is_there(engine):
    async with engine.begin() as connection:
        await connection.run_sync(Visit.__table__.create)
    async with session_factory() as session:
        visit = Visit()
        session.add(visit)
        await session.commit()
        first = visit.changed
        visit.place = "here"
        await session.commit()
        assert visit.changed >= first
"""


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite", "asyncmy"])
def test_what_the_database_sets_is_read_at_once(generate_installed: Generate, driver: str) -> None:
    """Whoever read it later would get `MissingGreenlet`."""
    project = generate_installed(driver=driver, isolation="create_drop")
    (project.path / "tests/test_times.py").write_text(WITH_TIMES)
    project.run("pytest", "tests/test_times.py")


def test_a_migration_by_hand(generate_installed: Generate) -> None:
    """It has what it imports, also before it is written."""
    project = generate_installed()
    project.run("alembic", "revision", "-m", "by hand")
    (file,) = (project.path / "migrations/versions").glob("*_by_hand.py")
    file.write_text(file.read_text().partition("def upgrade")[0] + MIGRATION.strip() + "\n")
    owner.append(file, "\n\ndef downgrade() -> None:\n    pass\n")
    project.run("pytest", "tests/test_migrations.py")
    project.run("ruff", "check", "--no-cache")


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite", "aiomysql"])
def test_the_example_goes_late(generate_installed: Generate, driver: str) -> None:
    """Its migration has been followed by others, and has been run."""
    project = generate_installed(driver=driver)
    owner.delete_the_code_of_the_example(project.path)
    owner.append(project.path / "src/my_app/models.py", owner.MODEL)
    migration = owner.MIGRATION.replace('"0001"', '"0002"').replace("None\n", '"0001"\n', 1)
    owner.write(project.path / "migrations/versions/0002_customers.py", migration)
    with database(project, driver) as address:
        project.variables["DATABASE_URL"] = address
        project.run("alembic", "upgrade", "head")
        owner.drop_the_tables_of_the_example(project.path, after="0002")
        project.run("alembic", "upgrade", "head")
        assert "No new upgrade operations detected" in project.run("alembic", "check")
    project.run("ruff", "check", "--fix", "--quiet", "--no-cache")
    project.check()
    project.run("pytest")


@pytest.mark.parametrize(
    ("driver", "isolation"),
    [
        ("asyncpg", "reset"),
        ("psycopg", "savepoint"),
        ("aiosqlite", "create_drop"),
        ("asyncmy", "reset"),
        ("aiomysql", "savepoint"),
    ],
)
def test_models_that_need_a_migration(
    generate_installed: Generate, driver: str, isolation: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    models = project.path / "src/my_app/models.py"
    owner.replace(models, "String(1000)", "String(1001)")
    output = project.run("pytest", "tests/test_migrations.py", exit_code=1)
    assert "1 failed, 1 passed" in output
    assert "FAILED tests/test_migrations.py::test_the_models_need_no_other_migration" in output
    assert "modify_type" in output


def test_a_migration_that_forgets_a_table_on_the_way_back(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite", isolation="clone")
    migration = project.path / "migrations/versions/0001_items.py"
    owner.replace(migration, '    op.drop_table("reviews")\n', "")
    output = project.run("pytest", "tests/test_migrations.py", exit_code=1)
    assert "FAILED tests/test_migrations.py::test_down_and_up_again" in output
    assert "table reviews already exists" in output


def test_two_heads(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    for number in ("0002", "0003"):
        migration = owner.MIGRATION.replace("0001", number).replace("None\n", '"0001"\n', 1)
        owner.write(project.path / f"migrations/versions/{number}.py", migration)
    output = project.run("pytest", exit_code=pytest.ExitCode.USAGE_ERROR)
    assert "The migrations fail, at" in output
    assert "Multiple head revisions are present" in output
