"""Plain test functions call the application by `test_client`, on the event loop of the test."""

import re

import pytest

from .combinations import Combination
from .conftest import Generate, require_server
from .generated import reports

APPLICATION = """
import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from my_app.models import Item
from sqlalchemy import func, select, text
from starlette.testclient import TestClient, WebSocketDenialResponse
from tests.harness.running.lifespan import running
from tests.harness.running.sync_client import SyncClient
from tests.harness.watch.runner import async_fixture

COUNT = select(func.count()).select_from(Item)
variable = ContextVar("variable", default="")
events = []
kept = []


@async_fixture()
async def app(engine, session_factory):
    async def count():
        async with session_factory() as session:
            return await session.scalar(COUNT)

    async def work():
        while True:  # in the middle of a statement when nobody runs the loop, more often than not
            await count()
            events.append("worked")
            await asyncio.sleep(0)

    @asynccontextmanager
    async def lifespan(_):
        events[:] = ["started"]
        tasks = [asyncio.create_task(work()) for _ in range(WORKERS)]
        yield {"greeting": "hello"}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get_session():
        try:
            async with session_factory() as session:
                yield session
        finally:
            events.append("closed")

    app = FastAPI(lifespan=lifespan)

    @app.post("/items/{name}")
    async def create(name: str, session=Depends(get_session)):
        session.add(Item(name=name))
        await session.commit()

    @app.post("/items/{name}/later")
    async def create_later(name: str, background: BackgroundTasks):
        async def later():
            await asyncio.sleep(0.02)
            async with session_factory.begin() as session:
                session.add(Item(name=name))

        background.add_task(later)

    @app.get("/names")
    async def names(session=Depends(get_session)):
        return [*await session.scalars(select(Item.name).order_by(Item.id))]

    @app.get("/stream")
    async def stream(end: int, session=Depends(get_session)):
        async def lines():
            for number in range(end):
                await session.scalar(COUNT)
                yield f"{number}\\n"

        return StreamingResponse(lines())

    @app.get("/greeting")
    async def greet(request: Request):
        return [request.state.greeting, variable.get(), str(request.base_url)]

    @app.get("/redirection")
    async def redirect():
        response = RedirectResponse("/cookie")
        response.set_cookie("taste", "sweet")
        return response

    @app.get("/cookie")
    def taste(request: Request):
        return [request.cookies.get("taste"), threading.current_thread().name]

    @app.post("/body")
    async def read_body(request: Request):
        return (await request.body()).decode()

    @app.get("/failure")
    async def fail():
        raise ZeroDivisionError

    @app.get("/failure/later")
    async def fail_later(background: BackgroundTasks):
        background.add_task(fail)

    @app.get("/slow")
    async def be_slow(session=Depends(get_session)):
        async def lines():
            yield "0"
            await session.execute(text(SLOW))

        return StreamingResponse(lines())

    @app.get("/task")
    async def leave_task():
        kept.append(asyncio.create_task(asyncio.sleep(60)))

    @app.get("/connection")
    async def leave_connection():
        kept.append(await engine.connect())
        await kept[-1].execute(COUNT)

    @app.websocket("/echo")
    async def echo(websocket: WebSocket, session=Depends(get_session)):
        await websocket.accept()
        try:
            while name := await websocket.receive_text():
                session.add(Item(name=name))
                await session.commit()
                await websocket.send_json([websocket.state.greeting, await count()])
            raise ZeroDivisionError
        except WebSocketDisconnect:
            events.append("disconnected")

    @app.websocket("/closed")
    async def close(websocket: WebSocket):
        await websocket.close(4000)

    @app.websocket("/denied")
    async def deny(websocket: WebSocket):
        await websocket.send_denial_response(PlainTextResponse("", 403))

    async with running(app):
        yield app
"""

PASSING = """

WORKERS = 1


@pytest.fixture(params=[1, 2], autouse=True)
def nothing_is_left(test_client):
    assert test_client.get("/names").json() == []


def test_requests(test_client, session):
    test_client.post("/items/chair")
    session.add(Item(name="table"))
    test_client.portal.call(session.commit)
    assert test_client.get("/names").json() == ["chair", "table"]
    assert test_client.portal.call(session.scalar, COUNT) == 2


@pytest.mark.real_commits
def test_real_commits(test_client):
    test_client.post("/items/chair")
    assert test_client.get("/names").json() == ["chair"]


@async_fixture()
async def arranged(session):
    session.add(Item(name="arranged"))
    await session.commit()


def test_arranged(arranged, test_client):
    assert test_client.get("/names").json() == ["arranged"]


def test_background(test_client):
    test_client.post("/items/chair/later")
    with test_client.stream("POST", "/items/table/later") as response:
        assert next(response.iter_raw()) == b"null"
    assert test_client.get("/names").json() == ["chair", "table"]


def test_stream(test_client):
    events.clear()
    assert test_client.get("/stream?end=3").text == "0\\n1\\n2\\n"
    with test_client.stream("GET", "/stream?end=1000000") as response:
        lines = response.iter_lines()
        assert [next(lines), next(lines)] == ["0", "1"]
        assert test_client.get("/greeting").status_code == 200
        assert events.count("closed") == 1
    assert events.count("closed") == 2


def test_with(test_client):
    with test_client as client:
        request = client.build_request("GET", "/stream?end=1000000")
        lines = client.send(request, stream=True).iter_lines()
        assert next(lines) == "0"
        events.clear()
    assert events.count("closed") == 1
    assert "started" not in events
    assert test_client.get("/greeting").json()[0] == "hello"


def test_a_response_is_left(test_client):
    request = test_client.build_request("GET", "/stream?end=1000000")
    kept.append(test_client.send(request, stream=True))
    assert kept[-1].status_code == 200


def test_websocket(test_client):
    with (
        test_client.websocket_connect("/echo") as one,
        test_client.websocket_connect("/echo") as other,
    ):
        one.send_text("chair")
        other.send_text("table")
        assert sorted([one.receive_json(), other.receive_json()]) != []
        assert sorted(test_client.get("/names").json()) == ["chair", "table"]
        one.send_text("lamp")
        assert one.receive_json() == ["hello", 3]
    assert events.count("disconnected") == 2


def test_refused_websocket(test_client):
    with pytest.raises(WebSocketDisconnect) as caught, test_client.websocket_connect("/closed"):
        pass
    assert caught.value.code == 4000
    with pytest.raises(WebSocketDenialResponse) as caught, test_client.websocket_connect("/denied"):
        pass
    assert caught.value.status_code == 403


def test_errors(test_client, app):
    for path in ("/failure", "/failure/later"):
        with pytest.raises(ZeroDivisionError):
            test_client.get(path)
    with pytest.raises(ZeroDivisionError), test_client.websocket_connect("/echo") as socket:
        socket.send_text("")
        socket.receive_text()
    other = SyncClient(app, test_client.portal, raise_server_exceptions=False)
    assert other.get("/failure").status_code == 500
    assert test_client.get("/names").status_code == 200


def test_what_test_client_does(test_client):
    variable.set("of the test")
    assert test_client.get("/greeting").json() == ["hello", "of the test", "http://test/"]
    taste, thread = test_client.get("/redirection").json()
    assert (taste, thread == threading.main_thread().name) == ("sweet", False)
    assert test_client.get("/redirection", follow_redirects=False).status_code == 307
    assert test_client.post("/body", content=iter([b"a", b"b"])).json() == "ab"


def test_portal(test_client):
    portal = test_client.portal
    assert portal.call(len, "abc") == 3
    with pytest.raises(KeyError):
        portal.call({}.pop, "a")
    future = portal.start_task_soon(asyncio.sleep, 0.05, "slept")
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    assert future.result() == "slept"
    future = portal.start_task_soon(asyncio.sleep, 60)
    portal.call(asyncio.sleep, 0)
    assert future.cancel()

    async def fail(task_status):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        portal.start_task(fail)


def test_tasks_go_on_in_calls_only(test_client):
    events.clear()
    assert events == []
    while "worked" not in events:
        test_client.portal.call(asyncio.sleep, 0.001)


@pytest.fixture
def logged_in(test_client):
    test_client.get("/redirection")
    return test_client


async def test_a_plain_fixture_of_an_async_test(logged_in, client):
    assert logged_in.cookies["taste"] == "sweet"
    assert (await client.get("/names")).json() == []
"""

FAILING = """

WORKERS = 0  # one might be interrupted in place of the test


async def test_async(test_client):
    test_client.get("/names")  # of the test


async def test_async_websocket(test_client):
    with test_client.websocket_connect("/echo"):  # of the test
        pass


def test_thread(test_client):
    with ThreadPoolExecutor() as pool:
        pool.submit(test_client.get, "/names").result()  # of the test


def test_run(test_client):
    async def get():
        test_client.get("/names")  # of the test

    asyncio.run(get())


@pytest.fixture(scope="class")
def later():
    yield
    kept.pop().call(asyncio.sleep, 0)


class TestLater:
    def test(self, later, test_client):
        kept.append(test_client.portal)


def test_pending(test_client, session):
    session.add(Item(name="chair"))
    test_client.get("/names")  # of the test


def test_task(test_client):
    test_client.get("/task")


def test_connection(test_client):
    test_client.get("/connection")


def test_websocket(test_client):
    kept.append(test_client.websocket_connect("/echo").__enter__())


def test_statements(test_client, statements):
    with statements.at_most(0):
        test_client.post("/items/chair")


@pytest.fixture
def limit():
    def end(*_):
        pytest.fail("Timeout")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 0.4)


def test_slow(test_client, limit):
    test_client.get("/slow")  # of the test


def test_slow_stream(test_client, limit):
    with test_client.stream("GET", "/slow") as response:
        assert [*response.iter_lines()] == []  # of the test


def test_slow_websocket(test_client, limit):
    with test_client.websocket_connect("/echo") as socket:
        socket.receive_text()  # of the test


def test_interrupted_elsewhere(test_client, limit):
    with test_client.stream("GET", "/slow"):
        threading.Event().wait()  # of the test


def test_next_is_clean(test_client):
    assert test_client.get("/names").json() == []
"""

IN_THE_SANDBOX = """

def test_flushed(test_client, session):
    session.add(Item(name="chair"))
    test_client.portal.call(session.flush)
    test_client.get("/names")  # of the test


def test_own_loop(app):
    TestClient(app).get("/names")  # of the test
"""

TEST = "  # of the test\n"
AWAIT = TEST, "HarnessError: The fixture `test_client` is for a plain", "`await client.get(...)`"
NOTICED = {
    "test_async": AWAIT,
    "test_async_websocket": AWAIT,
    "test_thread": AWAIT,
    "test_run": AWAIT,
    "ERROR at teardown of TestLater.test": ("The fixture `test_client` is used after its test.",),
    "test_pending": (TEST, "CommitFirstError: Commit first: the test's session holds changes"),
    "ERROR at teardown of test_task": (
        "LeakError: ",
        "the task sleep (",
        " tells who has started it).",
    ),
    "ERROR at teardown of test_connection": (
        "LeakError: This test has left open\n",
        "transaction of tests/test_failing.py::test_connection (call), app.<locals>.leave_connec",
    ),
    "ERROR at teardown of test_websocket": (
        "LeakError: This test has left open\n",
        "* the task WebSocketTestSession._run at tests/test_failing.py:",
    ),
    "test_statements": (
        "1 x INSERT INTO items",
        "app.<locals>.create at tests/test_failing.py:",
    ),
    **dict.fromkeys(
        ("test_slow", "test_slow_stream", "test_slow_websocket", "test_interrupted_elsewhere"),
        (TEST, "Failed: Timeout"),
    ),
}
NOTICED_IN_THE_SANDBOX = {
    "test_flushed": (TEST, "CommitFirstError: Commit first: this statement waits", "INSERT INTO"),
    "test_own_loop": (
        TEST,
        "WrongLoopError: A connection of",
        "TestClient: take the fixture `test_client` in place of it",
    ),
}
SLOW = {
    "postgresql": "SELECT pg_sleep(60)",
    "mysql": "SELECT SLEEP(60)",
    "sqlite": "WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 2 FROM n) SELECT count(*) FROM n",
}


@pytest.mark.parametrize(
    "combination",
    [
        Combination("asyncpg", "savepoint", "session", "pytest-asyncio"),
        Combination("asyncpg", "create_drop", "module", "anyio"),
        Combination("psycopg", "reset", "class", "anyio"),
        Combination("asyncmy", "savepoint", "module", "anyio"),
        Combination("aiomysql", "reset", "function", "pytest-asyncio"),
        Combination("aiosqlite", "savepoint", "function", "anyio"),
        Combination("aiosqlite", "clone", "session", "pytest-asyncio"),
    ],
    ids=str,
)
def test_plain_functions_call_the_application(
    generate_installed: Generate, combination: Combination
) -> None:
    project = generate_installed(
        **combination._asdict(), test_client=True, python=combination.python
    )
    if combination.backend == "mysql":
        project.variables["TEST_DATABASE_URL"] = require_server("mysql")
    application = f"{APPLICATION}\n\nSLOW = '{SLOW[combination.backend]}'\n"
    failing, noticed = FAILING, NOTICED
    if combination.isolation == "savepoint":
        failing, noticed = FAILING + IN_THE_SANDBOX, NOTICED | NOTICED_IN_THE_SANDBOX
    (project.path / "tests/test_passing.py").write_text(application + PASSING)
    (project.path / "tests/test_failing.py").write_text(application + failing)

    output = project.run("pytest", "tests/test_passing.py", "tests/test_failing.py", exit_code=1)
    shown = reports(output)
    assert shown.keys() == noticed.keys(), output
    for test, parts in noticed.items():
        assert re.search("(.|\n)*".join(map(re.escape, parts)), shown[test]), shown[test]
    assert "never awaited" not in output
    assert "never retrieved" not in output
