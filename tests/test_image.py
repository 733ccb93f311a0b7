"""The image of a project, built and run without Docker: what its files say, done in a folder.

What a base image brings is the machine's: Python, uv, users.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from .conftest import Generate
from .existing import developers_database
from .generated import GeneratedProject, Server, clean_environment
from .pythons import NEWEST, PYTHONS, UV

ROOT_S = ("useradd", "install")
"""What would change this machine, and needs to be root."""
REQUESTS = 50


class Image:
    """A folder that stands for the root of a container's file system."""

    def __init__(self, project: GeneratedProject, folder: Path) -> None:
        self.context, self.folder, self.root = project.path, folder, folder / "root"
        self.stages: dict[str, tuple[Path, dict[str, str]]] = {}
        self.commands = folder / "commands"
        self.commands.mkdir(parents=True)
        for name in ROOT_S:
            (self.commands / name).write_text("#!/bin/sh\n")
            (self.commands / name).chmod(0o755)
        self.stage, self.directory = "", self.root
        self.variables: dict[str, str] = {}
        text = re.sub(r"#.*\n", "", (self.context / "Dockerfile").read_text())
        for line in text.replace("\\\n", "").splitlines():
            if line:
                keyword, _, rest = line.partition(" ")
                getattr(self, f"do_{keyword.lower()}")(rest.strip())

    @property
    def environment(self) -> dict[str, str]:
        """The variables of whatever runs in it; those of uv stand for a base image that has it."""
        (self.folder / "home").mkdir(exist_ok=True)
        cache = subprocess.check_output([UV, "cache", "dir"], text=True).strip()
        path = f"{self.commands}{os.pathsep}{os.environ['PATH']}"
        outside = {"HOME": str(self.folder / "home"), "UV_CACHE_DIR": cache, "PATH": path}
        return clean_environment() | outside | {"UV_PYTHON": PYTHONS[NEWEST]} | self.variables

    def do_from(self, rest: str) -> None:
        """Begin a stage; all have their files at the same place, since environments know theirs."""
        if self.root.exists():
            self.stages[self.stage] = self.root.rename(self.folder / self.stage), self.variables
        source, _, self.stage = rest.partition(" AS ")
        self.stage = self.stage or "last"
        if source in self.stages:
            files, variables = self.stages[source]
            shutil.copytree(files, self.root, symlinks=True)
            self.variables = {**variables}
        else:
            assert source.startswith("python:3.")
            self.root.mkdir()
            self.variables = {}

    def do_workdir(self, rest: str) -> None:
        self.directory = self.root / rest.removeprefix("/")
        self.directory.mkdir()

    def do_env(self, rest: str) -> None:
        for name, _, value in (pair.partition("=") for pair in shlex.split(rest)):
            value = re.sub(r"^/", f"{self.root}/", value)
            self.variables[name] = value.replace("$PATH", self.environment["PATH"])

    def do_copy(self, rest: str) -> None:
        *options, source, target = rest.split()
        if options == ["--from=ghcr.io/astral-sh/uv:0.13"]:
            return
        if options:
            stage = self.stages[options[0].removeprefix("--from=")][0]
            copy(stage / source.removeprefix("/"), self.directory / target)
        elif source == ".":
            allowed = (self.context / ".dockerignore").read_text().splitlines()
            assert allowed[1] == "*"
            for name in (line[1:] for line in allowed if line.startswith("!")):
                if (self.context / name).exists():
                    copy(self.context / name, self.directory / name)
        else:
            copy(self.context / source, self.directory / target)

    def do_run(self, rest: str) -> None:
        bound = re.findall(r"--mount=type=bind,source=(\S+),target=(\S+)", rest)
        for source, target in bound:
            copy(self.context / source, self.directory / target)
        self.execute("sh", "-c", re.sub(r"--mount=\S+", "", rest))
        for _, target in bound:
            (self.directory / target).unlink()

    def do_user(self, rest: str) -> None:
        assert int(rest) > 0

    def do_expose(self, rest: str) -> None:
        assert rest == "8000"

    def do_cmd(self, rest: str) -> None:
        self.command: list[str] = json.loads(rest)

    def execute(self, *command: str, address: str = "") -> str:
        """Run a command in it, and return what it prints."""
        container = GeneratedProject(self.directory, self.environment)
        return container.run(*command, DATABASE_URL=address)

    @contextmanager
    def serve(self, address: str) -> Iterator[Server]:
        """Run its own command, until it is ready, with the database at `address`."""
        program = shutil.which(self.command[0], path=self.environment["PATH"])
        assert program is not None
        assert Path(program).is_relative_to(self.root)
        command = program, *self.command[1:], "--host", "127.0.0.1"
        container = GeneratedProject(self.directory, self.environment)
        with container.serve(*command, DATABASE_URL=address) as server:
            assert server.fetch("/health/ready") == b'{"status":"ok"}'
            yield server


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def post(port: int, number: int) -> tuple[socket.socket, bytes]:
    """Begin a request, until the application waits for its body; return the connection and that."""
    body = json.dumps({"name": f"chair {number}"}).encode()
    head = (
        "POST /items HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
    )
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    return connection, body


def refuses(port: int) -> bool:
    """Tell whether the server takes no new connections any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionError:  # refused, or reset while the server stopped listening
        return True
    return False


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite"])
def test_it_serves_and_ends_as_a_server_should(
    generate: Generate, tmp_path: Path, driver: str
) -> None:
    project = generate(driver=driver, license="MIT")
    project.run(UV, "lock", "--quiet", UV_PYTHON=PYTHONS[NEWEST])
    (project.path / ".env").write_text("SECRET=1\n")
    image = Image(project, tmp_path / "image")
    compose = yaml.safe_load((project.path / "compose.yaml").read_text())["services"]
    assert {file.name for file in image.directory.iterdir()} == {
        ".venv",
        "migrations",
        "pyproject.toml",
    }
    packages = image.execute(UV, "pip", "list", "--python", f"{image.directory}/.venv")
    assert "my-app" in packages
    assert str(tmp_path) not in packages  # where an editable one is
    assert "pytest" not in packages

    with developers_database(driver, "image") as address:
        image.execute(*compose["migrations"]["command"], address=address)
        with image.serve(address) as server:
            begun = [post(server.port, number) for number in range(REQUESTS)]
            server.process.terminate()
            while not refuses(server.port):
                pass
            for connection, body in begun:
                connection.sendall(body)
            for connection, _ in begun:
                with connection:
                    assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
            assert server.process.wait(timeout=30) in (0, -signal.SIGTERM)
        with image.serve(address) as server:
            items = json.loads(server.fetch("/items?limit=100"))
        assert len(items) == REQUESTS
