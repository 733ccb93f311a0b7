"""An error of the harness is one screen: the owner's lines, then the message. Others stay."""

import re

import pytest

from . import owner
from .conftest import Generate
from .generated import reports

ROWS, COLUMNS = 24, 80

BROKEN = '''
import asyncio

import httpx2
import pytest
from fastapi import FastAPI
from my_app.models import Item
from sqlalchemy import text
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient
from tests.harness.errors import HarnessError

kept = []


async def end_transaction(session_factory):
    """Call what a rather long function calls, whose other lines would fill the screen.

    1
    2
    3
    4
    5
    6
    7
    8
    9
    """
    async with session_factory() as session:
        await session.execute(text("COMMIT"))  # refused


async def test_endpoint(session, client):
    session.add(Item(name="a"))
    await session.flush()
    await client.get("/items")  # of the test


async def test_pending(session, client):
    session.add(Item(name="a"))
    await client.get("/items")  # of the test


async def test_two_sessions(session, session_factory):
    session.add(Item(name="a"))
    await session.flush()
    async with session_factory() as other:
        await other.execute(text("SELECT 1"))  # of the test


async def test_refusal(session_factory):
    await end_transaction(session_factory)  # of the test


def test_other_loop(app):
    TestClient(app).get("/items")  # of the test


async def test_leak(engine):
    kept.append(await engine.connect())


async def test_leak_is_used():
    await kept[0].execute(text("SELECT 1"))  # of the test


async def test_middleware(session_factory):
    async def dispatch(request, call_next):
        return await call_next(request)  # of the middleware

    app = FastAPI()
    app.get("/")(lambda: None)
    app.add_api_route("/end", lambda: None)

    @app.get("/refused")
    async def refused():
        await end_transaction(session_factory)  # of the endpoint

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/refused")  # of the test


async def test_group(session_factory):
    async with asyncio.TaskGroup() as group:  # of the test
        group.create_task(end_transaction(session_factory))


async def test_unwrapped_group(session_factory):
    try:
        async with asyncio.TaskGroup() as group:  # of the test
            group.create_task(end_transaction(session_factory))
    except ExceptionGroup as group:
        raise group.exceptions[0]  # which leads back to the group


async def test_cause(session_factory):
    try:
        await end_transaction(session_factory)
    except HarnessError as error:
        error.add_note("a note of the test")
        raise RuntimeError("my own") from error  # of the test


@pytest.fixture
async def fails_at_setup(session_factory):
    await end_transaction(session_factory)  # of the fixture


async def test_setup(fails_at_setup):
    pass


@pytest.fixture
async def fails_at_teardown(session_factory):
    yield
    await end_transaction(session_factory)  # of the fixture


async def test_teardown(fails_at_teardown):
    pass


@pytest.fixture
async def fails_too():
    yield
    pytest.importorskip(3)


async def test_teardown_of_two(fails_at_teardown, fails_too):
    pass


@pytest.mark.xfail(raises=HarnessError, strict=True)
async def test_expected(session_factory):
    await end_transaction(session_factory)


async def test_raises(session_factory):
    with pytest.raises(HarnessError, match="A raw 'COMMIT' begins"):
        await end_transaction(session_factory)
'''

ORDINARY = """

def compare(one, other):
    assert one == other


def test_ordinary():
    compare({"a": 1}, {"a": 2})


async def test_ordinary_cause(session):
    try:
        compare(1, 2)
    except AssertionError:
        await session.execute(text("SELECT * FROM no_such_table"))


async def test_ordinary_expectation(session_factory):
    with pytest.raises(HarnessError, match="something else"):
        await end_transaction(session_factory)


class Incomparable(Exception):
    def __eq__(self, other):
        raise NotImplementedError

    __hash__ = None


def test_ordinary_incomparable():
    try:
        raise Incomparable
    except Incomparable as error:
        raise Incomparable from error


async def test_ordinary_group(session):
    async with asyncio.TaskGroup() as group:
        group.create_task(session.execute(text("SELECT * FROM no_such_table")))
"""

TEST, FIXTURE = "  # of the test\n", "  # of the fixture\n"
REFUSED = "  # refused\n", "harness.errors.TransactionControlError: A raw 'COMMIT' begins"

SHOWN = {
    "test_endpoint": (
        TEST,
        "items.py:",
        " in list_items\n",
        "CommitFirstError: Commit first: this",
    ),
    "test_pending": (TEST, "E   tests.harness.errors.CommitFirstError: Commit first: the test's"),
    "test_two_sessions": (TEST, "E   tests.harness.errors.CommitFirstError: Commit first: this"),
    "test_refusal": (TEST, *REFUSED),
    "test_other_loop": (
        TEST,
        "items.py:",
        "WrongLoopError: A connection of",
        "fixture `client`",
    ),
    "ERROR at teardown of test_leak": ("LeakError: This test has left open\n", "* a connection of"),
    "test_leak_is_used": (
        "LeakError: This is a",
        TEST,
        "StatementError: (",
        "LeakError) This is a",
    ),
    "test_middleware": (TEST, "  # of the middleware\n", "  # of the endpoint\n", *REFUSED),
    "test_group": (TEST, *REFUSED),
    "test_unwrapped_group": (TEST, *REFUSED),
    "test_cause": (*REFUSED, "E   a note of the test\n", TEST, "E   RuntimeError: my own"),
    "ERROR at setup of test_setup": (FIXTURE, *REFUSED),
    "ERROR at teardown of test_teardown": (FIXTURE, *REFUSED),
    "ERROR at teardown of test_teardown_of_two": (FIXTURE, *REFUSED, "importorskip", "TypeError"),
}
"""What stands in a report, in this order."""


def comparable(output: str) -> dict[str, str]:
    """Return each failure's report by its title, less what is not the same in two runs."""
    return reports(re.sub(r"0x[0-9a-f]+|(?<=test_my_app_)[0-9a-f]{8}|[0-9.]+ ms", "...", output))


@pytest.mark.parametrize(
    ("driver", "runner", "options"),
    [
        ("asyncpg", "pytest-asyncio", ("-vv", "--full-trace")),
        ("aiosqlite", "anyio", ("--tb=long",)),
    ],
)
def test_an_error_of_the_harness_is_one_screen(
    generate_installed: Generate, driver: str, runner: str, options: tuple[str, ...]
) -> None:
    project = generate_installed(driver=driver, runner=runner, isolation="savepoint")
    (project.path / "tests/test_broken.py").write_text(BROKEN + ORDINARY)
    # Starlette's TestClient is deprecated.
    command = "pytest", "-W", "ignore::DeprecationWarning", "tests/test_broken.py"
    shown = comparable(project.run(*command, exit_code=1))
    as_always = comparable(
        project.run(*command, "-p", "no:tests.harness.watch.report", exit_code=1)
    )
    assert [*shown] == [*as_always]
    assert {*SHOWN} == {title for title in shown if "ordinary" not in title}
    for title, report in shown.items():
        if title not in SHOWN:
            assert report == as_always[title]
            continue
        assert re.search("(.|\n)*".join(map(re.escape, SHOWN[title])), report), report
        rows = sum(-(-len(line) // COLUMNS) or 1 for line in report.splitlines())
        # What was taken from a group is shown in it, too.
        assert rows <= (2 * ROWS if title == "test_unwrapped_group" else ROWS), report
        assert "traceback entries are hidden" not in report, report
        assert not re.search(r"site-packages/(?!_pytest/outcomes)|tests/harness/", report), report
    for option in options:
        for title, report in reports(project.run(*command, option, exit_code=1)).items():
            assert title not in SHOWN or re.search(r"tests/harness/[\w/]+\.py\b", report), option


WAITS = """
from my_app.models import Item


async def test_waits(session, client):
    session.add(Item(name="a"))
    await session.flush()
    await client.post("/items", json={"name": "a"})  # of the test
"""


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite"])
def test_a_lock_that_the_test_holds_is_one_screen(
    generate_installed: Generate, driver: str
) -> None:
    project = generate_installed(driver=driver, isolation="reset")
    (project.path / "tests/test_waits.py").write_text(WAITS)
    (report,) = reports(project.run("pytest", "tests/test_waits.py", exit_code=1)).values()
    says = (
        "# of the test",
        "lock",
        "Commit first. Still open: a transaction of tests/test_waits.py::",
    )
    assert re.search("(?i)" + "(.|\n)*".join(map(re.escape, says)), report), report
    assert len(report.splitlines()) <= 2 * ROWS, report


FORGETFUL = """
async def test_forgets(client):
    response = client.get("/items")
    assert response.status_code == 200


async def test_others(client):
    assert (await client.get("/items")).status_code == 200


def test_forgets_last(client):
    response = client.get("/items")
    assert response.status_code == 200
"""


def test_a_forgotten_await_fails_its_test_alone(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    (project.path / "tests/test_forgetful.py").write_text(FORGETFUL)
    output = project.run("pytest", "tests/test_forgetful.py", exit_code=1)
    assert [*reports(output)] == ["test_forgets", "test_forgets_last"]
    for report in reports(output).values():
        assert "AsyncClient.get was called without `await`." in report
    assert "never awaited" not in output


def test_a_missing_setting_is_one_line_of_each_file(generate_installed: Generate) -> None:
    project = generate_installed(driver="aiosqlite")
    owner.replace(
        project.path / "src/my_app/settings.py", "    log_level:", "    key: str\n    log_level:"
    )
    shown = project.run("pytest", "tests/test_errors.py", "tests/test_items.py", exit_code=2)
    says = "ERROR collecting tests/test_errors.py", "for tests in tests/conftest.py", "* KEY: Field"
    assert re.search("(.|\n)*".join(map(re.escape, says)), shown), shown
    assert "Traceback" not in shown
    assert "INTERNALERROR" not in shown
