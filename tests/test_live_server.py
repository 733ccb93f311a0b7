"""Browsers and other processes call the application inside a test; and what goes wrong then."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .generated import reports
from .pythons import UV

ROUTES = """
import asyncio
import json

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import HTMLResponse, StreamingResponse
from my_app.database import session_factory
from my_app.main import app as my_app
from my_app.models import Item
from sqlalchemy import select


@my_app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    while True:  # until the client goes, which ends this by an error of Starlette
        text = await websocket.receive_text()
        await websocket.send_text(f"{websocket.query_params['number']} {text}")


@my_app.websocket("/collect")
async def collect(websocket: WebSocket):
    await websocket.accept()
    await asyncio.sleep(0.05)
    async for name in websocket.iter_text():
        async with session_factory() as session:
            session.add(Item(name=name))
            await session.commit()


@my_app.websocket("/denied")
async def deny(websocket: WebSocket):
    raise HTTPException(403, "not you")


@my_app.websocket("/stays")
async def stay(websocket: WebSocket):
    await websocket.accept()
    await asyncio.sleep(60)


@my_app.get("/names")
async def send_names():
    async def names():
        while True:
            async with session_factory() as session:
                for name in await session.scalars(select(Item.name)):
                    yield f"data: {name}\\n\\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(names(), media_type="text/event-stream")


@my_app.get("/flood")
async def flood():
    async def text():
        while True:
            yield "flood" * 1000
            await asyncio.sleep(0)

    return StreamingResponse(text())


@my_app.get("/breaks")
async def break_off():
    async def text():
        yield "text"
        raise KeyError("broken off")

    return StreamingResponse(text())


@my_app.get("/broken")
async def fail():
    raise ZeroDivisionError


@my_app.get("/url")
async def show_url(request: Request):
    return str(request.url)


@my_app.get("/later")
async def do_later(background: BackgroundTasks):
    background.add_task(work)


async def work():
    await asyncio.sleep(60)
"""

PASSING = """
import sys
import threading

import httpx2
from tests.harness.errors import HarnessError
from httpx2.websockets import WebSocketUpgradeError


async def curl(*arguments):
    process = await asyncio.create_subprocess_exec(
        "curl", "--no-progress-meter", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()


async def names(session):
    return sorted(await session.scalars(select(Item.name)))


async def test_curl(live_server, session):
    session.add(Item(name="chair"))
    await session.commit()
    assert '"name":"chair"' in await curl(f"{live_server}/items")
    await curl("--json", '{"name": "table"}', f"{live_server}/items")
    assert await names(session) == ["chair", "table"]


async def test_an_expected_error(live_server, live_server_errors):
    problem = {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert json.loads(await curl(f"{live_server}/broken")) == problem
    assert isinstance(live_server_errors.pop(), ZeroDivisionError)


@pytest.fixture
async def visitors():
    # They outlive the server, with what they have open there.
    client, process = httpx2.AsyncClient(), None

    async def start(url):
        nonlocal process
        process = await asyncio.create_subprocess_exec(
            "curl", "--no-buffer", url, stdout=asyncio.subprocess.PIPE
        )
        return process.stdout

    yield client, start
    await process.communicate()
    await client.aclose()


async def test_visitors_stay(visitors, live_server, session):
    session.add(Item(name="chair"))
    await session.commit()
    client, start = visitors
    assert (await client.get(f"{live_server}/items")).status_code == 200  # kept alive
    stream = await start(f"{live_server}/names")
    assert await stream.readline() == b"data: chair\\n"


async def test_websockets_at_once(client):
    async def call(number):
        async with client.websocket("/echo", params={"number": number}) as websocket:
            await websocket.send_text("hello")
            return await websocket.receive_text()

    assert await asyncio.gather(*map(call, range(5))) == [f"{n} hello" for n in range(5)]


async def test_what_is_sent_arrives(client, session):
    async with client.websocket("/collect") as websocket:
        for name in ("chair", "table"):
            await websocket.send_text(name)
    assert await names(session) == ["chair", "table"]


async def test_a_websocket_is_denied(client):
    with pytest.raises(WebSocketUpgradeError) as raised:
        async with client.websocket("/denied"):
            pass
    assert raised.value.response.status_code == 403


async def test_the_test_s_own_error(client):
    with pytest.raises(LookupError):
        async with client.websocket("/echo"):
            raise LookupError


@pytest.mark.parametrize("path", ["/flood", "/names"])
async def test_streams_are_left_unread(client, path):
    async with client.stream("GET", path):
        pass
    stream = client.stream("GET", path)
    await stream.__aenter__()
    left_open.append(stream)


left_open = []


async def test_a_stream_breaks_off(client):
    with pytest.raises(KeyError, match="broken off"):
        async with client.stream("GET", "/breaks") as response:
            await response.aread()
    with pytest.raises(ZeroDivisionError):
        async with client.stream("GET", "/broken"):
            pass


async def test_the_address_is_the_client_s(client):
    async with client.stream("GET", "https://shop.example/url") as response:
        assert (await response.aread()).decode() == '"https://shop.example/url"'
        assert str(response.url) == "https://shop.example/url"


async def test_uvicorn_is_missing(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(HarnessError, match="need uvicorn, which is not installed"):
        async with client.stream("GET", "/items"):
            pass
    assert (await client.get("/items")).json() == []


async def test_nothing_is_left(session):
    assert await names(session) == []
    assert "_answer_while_blocked" not in str(threading.enumerate())
"""

FAILING = """
import subprocess
import urllib.request
from contextlib import suppress

from tests.harness.running import client, live_server

client.END_TIMEOUT = live_server.BLOCKED_TIMEOUT = 1  # second, to be quick


async def get(url):
    process = await asyncio.create_subprocess_exec("curl", "--silent", url)
    await process.wait()


async def test_unexpected(live_server):
    await get(f"{live_server}/broken")


async def test_later(live_server):
    await get(f"{live_server}/later")


async def test_stays(client):
    async with client.websocket("/stays"):
        pass


async def test_blocking(live_server):
    with suppress(OSError):
        urllib.request.urlopen(live_server)


def test_plain_function(live_server):
    print(subprocess.check_output(["curl", "--silent", live_server]))


async def test_whole(client):
    await client.get("/names")


async def test_commit_first(live_server, session):
    session.add(Item(name="chair"))
    await session.flush()
    await get(f"{live_server}/items")


async def test_nothing_is_left(session):
    assert (await session.scalars(select(Item))).all() == []
"""


@pytest.mark.parametrize(
    ("driver", "isolation", "loop_scope", "runner"),
    [
        ("asyncpg", "savepoint", "function", "anyio"),
        ("psycopg", "reset", "session", "pytest-asyncio"),
        ("aiosqlite", "savepoint", "module", "pytest-asyncio"),
        ("aiosqlite", "clone", "session", "anyio"),
        ("asyncmy", "reset", "class", "anyio"),
        ("aiomysql", "create_drop", "function", "pytest-asyncio"),
    ],
)
def test_others_call_the_application(
    generate_installed: Generate, driver: str, isolation: str, loop_scope: str, runner: str
) -> None:
    project = generate_installed(
        driver=driver, isolation=isolation, loop_scope=loop_scope, runner=runner
    )
    if BACKENDS[driver] == "mysql":
        project.variables["TEST_DATABASE_URL"] = require_server("mysql")
    (project.path / "tests/test_live.py").write_text(ROUTES + PASSING)
    assert "13 passed" in project.run("pytest", "tests/test_live.py", "--durations=5")


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    [
        ("asyncpg", "savepoint", "pytest-asyncio"),
        ("psycopg", "reset", "anyio"),
    ],
)
def test_what_goes_wrong_is_said(
    generate_installed: Generate, driver: str, isolation: str, runner: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation, runner=runner)
    (project.path / "tests/test_failing.py").write_text(ROUTES + FAILING)
    output = project.run("pytest", "tests/test_failing.py", exit_code=1)
    report = reports(output)
    where = r"tests/test_failing\.py:\d+"

    assert "async def fail():" in report["ERROR at teardown of test_unexpected"]
    left = r"LeakError: This test has left open\n +\* the task \S+"
    assert re.search(left, report["ERROR at teardown of test_later"])
    assert re.search(rf"{left} at {where}\.", report["ERROR at teardown of test_stays"])
    assert "has blocked the event loop for 1 s" in report["ERROR at teardown of test_blocking"]
    assert "stands still in a plain `def" in report["ERROR at setup of test_plain_function"]
    assert "/names has begun, and not ended within 1 s" in report["test_whole"]

    names = "unexpected", "later", "stays", "blocking"
    expected = {f"ERROR at teardown of test_{name}" for name in names}
    expected |= {"test_whole", "ERROR at setup of test_plain_function"}
    if isolation == "savepoint":
        expected.add("ERROR at teardown of test_commit_first")
        assert "CommitFirstError" in report["ERROR at teardown of test_commit_first"]
    assert report.keys() == expected


BROWSERS: Final = ("chromium", "google-chrome")
BROWSER = """
import shutil

from harness_browser import PATH
from playwright.async_api import async_playwright

PAGE = '''
<button onclick="add()">Add</button> <ul id="fetched"></ul> <ul id="sent"></ul>
<script>
function show(list, name) {
    document.getElementById(list).appendChild(document.createElement("li")).textContent = name;
}
async function add() {
    const headers = {"Content-Type": "application/json"};
    await fetch("/items", {method: "POST", headers, body: JSON.stringify({name: "table"})});
    for (const item of await (await fetch("/items")).json()) show("fetched", item.name);
}
const socket = new WebSocket("/echo?number=1");
socket.onopen = () => socket.send("hello");
socket.onmessage = event => show("sent", event.data);
new EventSource("/names").onmessage = event => show("sent", event.data);
</script>
'''


@my_app.get("/page")
async def show_page():
    return HTMLResponse(PAGE)


@pytest.fixture(scope="session")
async def browser():
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PATH)
        yield browser
        await browser.close()


@pytest.mark.parametrize("attempt", [1, 2])
async def test_page(browser, live_server, session, attempt):
    session.add(Item(name="chair"))
    await session.commit()
    page = await browser.new_page()
    await page.goto(f"{live_server}/page")
    await page.get_by_role("button").click()
    await page.locator("#fetched").get_by_text("table").wait_for()
    for text in ("1 hello", "chair", "table"):
        await page.locator("#sent").get_by_text(text).first.wait_for()
    assert sorted(await session.scalars(select(Item.name))) == ["chair", "table"]
    # It is left open, with its websocket and its events.
"""


@pytest.mark.parametrize(
    ("driver", "isolation", "runner"),
    [("asyncpg", "savepoint", "pytest-asyncio"), ("aiosqlite", "reset", "anyio")],
)
def test_a_browser_shows_the_application(
    generate_installed: Generate, tmp_path: Path, driver: str, isolation: str, runner: str
) -> None:
    browser = require_browser()
    project = generate_installed(driver=driver, isolation=isolation, runner=runner)
    target = tmp_path / "playwright"
    project.run(UV, "pip", "install", "--quiet", "--target", str(target), "playwright>=1.55")
    (target / "harness_browser.py").write_text(f"PATH = {browser!r}\n")
    (project.path / "tests/test_page.py").write_text(ROUTES + BROWSER)
    output = project.run("pytest", "tests/test_page.py", PYTHONPATH=f"src{os.pathsep}{target}")
    assert "2 passed" in output


def require_browser() -> str:
    """Return the path of a browser that Playwright can drive.

    Raises:
        pytest.skip.Exception: there is none; with REQUIRE_SERVERS set, a failure.
    """
    for browser in BROWSERS:
        if path := shutil.which(browser):
            return path
    message = f"no browser: none of {', '.join(BROWSERS)} is installed"
    if os.environ.get("REQUIRE_SERVERS"):
        pytest.fail(message)
    pytest.skip(message)
