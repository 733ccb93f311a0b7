"""A project as its owner has it: in an environment of its own, made from its own pyproject."""

import socket
import subprocess
import time
import urllib.request

import pytest

from .combinations import BACKENDS
from .conftest import Generate, require_server
from .pythons import NEWEST, OLDEST, PYTHONS, UV


@pytest.mark.parametrize("driver", BACKENDS)
def test_nothing_is_missing(generate: Generate, driver: str) -> None:
    if BACKENDS[driver] == "mysql":
        require_server("mysql")
    project = generate(driver=driver)
    project.run(UV, "run", "pytest", "-n", "2", "--cov", UV_PYTHON=PYTHONS[NEWEST])


@pytest.mark.parametrize("driver", BACKENDS)
def test_the_oldest_versions_will_do(generate: Generate, driver: str) -> None:
    if BACKENDS[driver] == "mysql":
        require_server("mysql")
    project = generate(driver=driver)
    project.run(UV, "sync", "--resolution", "lowest-direct", UV_PYTHON=PYTHONS[OLDEST])
    project.run(UV, "run", "--no-sync", "pytest", "-n", "2")


def test_it_serves(generate: Generate) -> None:
    project = generate(driver="aiosqlite")
    project.run("cp", ".env.example", ".env")
    project.run(UV, "run", "alembic", "upgrade", "head")
    assert "No new upgrade operations detected" in project.run(UV, "run", "alembic", "check")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with subprocess.Popen(
        [UV, "run", "fastapi", "run", "--port", str(port)], cwd=project.path
    ) as server:
        try:
            assert fetch(f"http://127.0.0.1:{port}/health/ready") == b'{"status":"ok"}'
            assert fetch(f"http://127.0.0.1:{port}/items") == b"[]"
        finally:
            server.terminate()


def fetch(url: str, seconds: float = 30) -> bytes:
    """Read from a server that may still be starting.

    Raises:
        OSError: it has not answered after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url) as response:
                content: bytes = response.read()
                return content
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
