"""Rendering projects, and running commands in them as their owner would."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import copier
from filelock import FileLock

from .pythons import OLDEST, PYTHONS

TEMPLATE: Final = Path(__file__).parents[1]
NOT_RENDERED: Final = {"__pycache__", ".ruff_cache", ".pytest_cache", ".git", "uv.lock"}

GIT: Final = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.com",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.com",
}
"""Variables by which git has no configuration of this machine's, and knows who commits."""


def render(destination: Path, template: Path, **answers: Any) -> "GeneratedProject":
    """Render the template into `destination`, with defaults for what `answers` leaves open."""
    copier.run_copy(str(template), destination, data=answers, defaults=True, quiet=True)
    return GeneratedProject(destination)


def copy_template(destination: Path) -> Path:
    """Copy what copier reads to a plain folder: rendering from a git checkout is slower."""
    shutil.copytree(TEMPLATE / "template", destination / "template")
    shutil.copy(TEMPLATE / "copier.yml", destination)
    return destination


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`, with no configuration of this machine's; return what it prints."""
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.check_output(command, cwd=folder, env=os.environ | GIT, text=True)


def commit(folder: Path, tag: str | None = None) -> None:
    """Commit all that is in `folder`, which becomes a repository if it is none; tag it."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", tag or "Work")
    if tag:
        git(folder, "tag", tag)


def clean_environment() -> dict[str, str]:
    """Return the environment variables, less those that would reach into a project's tests.

    Where bytecode is not written, each of a project's commands would compile all its packages.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV_", "UV_PROJECT"))
        and name not in ("VIRTUAL_ENV", "DATABASE_URL", "TEST_DATABASE_URL", "PYTHONPATH")
        and name != "PYTHONDONTWRITEBYTECODE"
    } | {"UV_PYTHON": PYTHONS[OLDEST], "NO_COLOR": "1"}


def reports(output: str) -> dict[str, str]:
    """Return each failure's report by its title, from what pytest prints."""
    parts = re.split(r"^_{3,} (.+) _{3,}\n|^=.*\n", output, flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title}


@dataclass(frozen=True)
class GeneratedProject:
    """A rendered project."""

    path: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, exit_code: int = 0, **variables: str) -> str:
        """Run a command in the project's folder; return what it prints.

        Args:
            command: the command and its arguments.
            exit_code: the one that is expected.
            variables: environment variables to set.

        Raises:
            AssertionError: it exits with another code. The message has all one needs to repeat it.
            subprocess.TimeoutExpired: it takes longer than five minutes.
        """
        environment = clean_environment() | self.variables | variables
        process = subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert process.returncode == exit_code, (
            f"exit code {process.returncode} instead of {exit_code}\n"
            f"$ cd {self.path}\n$ {' '.join(command)}\n{process.stdout}"
        )
        return process.stdout

    @contextmanager
    def serve(self, *command: str, **variables: str) -> Iterator["Server"]:
        """Run a command that serves, on a free port; it has not answered yet.

        Args:
            command: the command and its arguments, to which `--port` is added.
            variables: environment variables to set.
        """
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        log = self.path / "server.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*command, "--port", str(port)],
                cwd=self.path,
                env=clean_environment() | self.variables | variables,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                yield Server(port, process, log)
            finally:
                process.terminate()

    def check(self) -> None:
        """Check that the project is clean under ruff and mypy.

        Raises:
            AssertionError: it is not.
        """
        self.run("ruff", "check", "--no-cache")
        self.run("ruff", "format", "--check", "--no-cache")
        # An owner's mypy says nothing of the harness; here it is judged, too.
        settings = (self.path / "pyproject.toml").read_text()
        judging = self.path.with_name(f"{self.path.name}.mypy.toml")
        settings = settings.replace("\nignore_errors = true\n", "\n")
        untyped = '[[tool.mypy.overrides]]\nmodule = "greenlet"\nignore_missing_imports = true\n'
        judging.write_text(f"{settings}\n{untyped}")
        self.mypy(f"--config-file={judging}")

    def mypy(self, *options: str, exit_code: int = 0) -> str:
        """Run mypy, whose cache is shared, and does not bear two of them at work; see `run`."""
        with FileLock(f"{self.variables['MYPY_CACHE_DIR']}.lock"):
            return self.run("mypy", *options, exit_code=exit_code)

    def files(self) -> dict[str, str]:
        """Return the text of all files by their path, but for what running it leaves there."""
        return {
            str(file.relative_to(self.path)): file.read_text()
            for file in sorted(self.path.rglob("*"))
            if file.is_file() and not NOT_RENDERED & {*file.parts}
        }


@dataclass(frozen=True)
class Server:
    """A process that serves an application."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def fetch(self, path: str, seconds: float = 30) -> bytes:
        """Return what it answers, which may be starting still.

        Raises:
            OSError: it has not answered after `seconds`, or with an error.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(self.address + path) as response:
                    content: bytes = response.read()
                    return content
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


MIGRATION: Final = """
from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text().split("\\n\\n"):
        op.get_bind().exec_driver_sql(statement)
"""


def write_migration(project: GeneratedProject, statements: str) -> None:
    """Give `project` a migration of `statements`, which empty lines separate."""
    versions = project.path / "migrations/versions"
    (versions / "0002.py").write_text(MIGRATION)
    (versions / "0002.sql").write_text(statements)
