"""Fixtures that render projects, and share what is slow to make between them."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2
import pytest
from filelock import FileLock

from .combinations import BACKENDS
from .generated import GeneratedProject, copy_template, render
from .pythons import OLDEST, PYTHONS, UV

collect_ignore = ["applications", "applications_moved"]

Generate = Callable[..., GeneratedProject]
Environment = Callable[..., dict[str, str]]

SERVERS: Final = {
    "postgresql": os.environ.get("POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mysql": os.environ.get("MARIADB_URL", "mysql://root@127.0.0.1:3306"),
}
"""The servers that tests use beside the one that a project starts for itself."""


@pytest.fixture(scope="session", autouse=True)
def nobody_s_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep copier's settings of whoever runs the tests out of them: they fill in names."""
    settings = tmp_path_factory.mktemp("copier") / "settings.yml"
    settings.write_text("defaults: {}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIER_SETTINGS_PATH", str(settings))
        yield


@pytest.fixture(scope="session", autouse=True)
def templates_are_compiled_once() -> Iterator[None]:
    """Keep what Jinja makes of a text: copier asks for it anew in each project, half its time."""
    compile_anew = jinja2.Environment.compile
    compiled: dict[object, CodeType] = {}

    def compile_once(environment: jinja2.Environment, source: str, *names: Any) -> CodeType:
        key = type(environment), environment.keep_trailing_newline, source, names
        if key not in compiled:
            compiled[key] = compile_anew(environment, source, *names)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield


@pytest.fixture(scope="session")
def quick_folder() -> Iterator[Path]:
    """A folder in memory, where the machine has room there: copier makes files by the thousand."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template, in a folder without git."""
    return copy_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def generate(template: Path, tmp_path: Path) -> Generate:
    """Render a project with the given answers; what it runs, it installs for itself first."""

    def generate(folder: str = "project", **answers: Any) -> GeneratedProject:
        return render(tmp_path / folder, template, **answers)

    return generate


@pytest.fixture
def environment(template: Path, tmp_path: Path, shared_folder: Path) -> Environment:
    """Return the variables that activate an environment with what a project needs.

    All projects with the same requirements and the same Python share one, and nothing else of
    uv's helps them.
    """

    def environment(driver: str, runner: str, python: str = OLDEST) -> dict[str, str]:
        folder = shared_folder / f"environment-{driver}-{runner}-{python}"
        installed = Path(f"{folder}.installed")
        with FileLock(f"{folder}.lock"):
            if not installed.exists():
                # Not the project that is tested: it may ask for a newer Python.
                model = tmp_path / f"model-{driver}-{runner}-{python}"
                sync = UV, "sync", "--quiet", "--no-install-project"
                project = render(model, template, driver=driver, runner=runner)
                project.run(*sync, UV_PROJECT_ENVIRONMENT=str(folder), UV_PYTHON=PYTHONS[python])
                installed.touch()
        return {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "MYPY_CACHE_DIR": f"{folder}.mypy",
        }

    return environment


@pytest.fixture
def generate_installed(generate: Generate, environment: Environment) -> Generate:
    """Render a project; what it runs, it runs as if its environment were activated."""

    def generate_installed(
        driver: str = "asyncpg",
        runner: str = "pytest-asyncio",
        python: str = OLDEST,
        **answers: Any,
    ) -> GeneratedProject:
        if BACKENDS[driver] == "mysql":
            require_server("mysql")
        project = generate(driver=driver, runner=runner, **answers)
        return replace(project, variables=environment(driver, runner, python))

    return generate_installed


def require_server(backend: str) -> str:
    """Return the address of a server that must run already.

    Raises:
        pytest.skip.Exception: it cannot be reached; with REQUIRE_SERVERS set, a failure.
    """
    url = SERVERS[backend]
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except OSError as error:
        message = f"no server at {url}: {error}"
        if os.environ.get("REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    return url
