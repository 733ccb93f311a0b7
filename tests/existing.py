"""Brings the harness beside applications that exist, by the steps that copier prints."""

import configparser
import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Final

import copier
import tomlkit

from .conftest import require_server
from .generated import GeneratedProject
from .pythons import UV

HERE: Final = Path(__file__).parent
APPLICATIONS: Final = HERE / "applications"
"""Applications in common styles, each with a suite of its own that passes without the harness."""
MOVED: Final = HERE / "applications_moved"
"""What their teams have changed of these suites to move to the harness."""
STEP: Final = re.compile("^    (.+)$", re.MULTILINE)
LISTS: Final = ("addopts", "pythonpath")
ANSWERS_FILE: Final = ".copier-answers.loopsafe.yml"


def copy_application(application: str, folder: Path) -> GeneratedProject:
    """Copy the application to `folder`, with its own suite, and install it there."""
    shutil.copytree(
        APPLICATIONS / application, folder, ignore=shutil.ignore_patterns(".*", "*.db", "uv.lock")
    )
    project = GeneratedProject(folder)
    project.run(UV, "sync", "--quiet")
    return project


def bring_harness(
    template: Path, application: str, folder: Path, **answers: Any
) -> GeneratedProject:
    """Copy the application to `folder`, render the harness beside it, and do what copier prints."""
    project = copy_application(application, folder)
    printed = render_harness(template, folder, **answers)
    for step in STEP.findall(printed):
        if step.startswith("uv add "):
            project.run(UV, *shlex.split(step)[1:], "--quiet")
    settings = dict(step.split(" = ", 1) for step in STEP.findall(printed) if " = " in step)
    configure_pytest(folder, settings)
    shutil.copytree(MOVED / application, folder, dirs_exist_ok=True)
    return project


def render_harness(template: Path, folder: Path, *, overwrite: bool = False, **answers: Any) -> str:
    """Render the harness into `folder`; return what copier prints."""
    with redirect_stderr(io.StringIO()) as printed:
        copier.run_copy(
            str(template),
            folder,
            data={"scope": "harness", **answers},
            defaults=True,
            overwrite=overwrite,
            answers_file=ANSWERS_FILE,
        )
    return printed.getvalue()


def configure_pytest(folder: Path, settings: dict[str, str]) -> None:
    """Add `settings` to those of pytest, as somebody would who reads them."""
    if (ini := folder / "pytest.ini").exists():
        parser = configparser.ConfigParser()
        parser.read(ini)
        for name, text in settings.items():
            before = parser["pytest"].get(name, "") if name in LISTS else ""
            parser["pytest"][name] = f"{before} {text}".strip()
        with ini.open("w") as file:
            parser.write(file)
        return
    pyproject = folder / "pyproject.toml"
    document = tomlkit.parse(pyproject.read_text())
    table: Any = document["tool"]["pytest"]
    table = table.get("ini_options", table)
    for name, text in settings.items():
        value: Any = tomlkit.value(text)
        if name in LISTS:
            old = table.get(name, [])
            value = [*dict.fromkeys([*(old.split() if isinstance(old, str) else old), *value])]
        table[name] = value
    pyproject.write_text(tomlkit.dumps(document))


EXECUTE: Final = """
import asyncio, sys, asyncpg

async def main(address, *statements):
    connection = await asyncpg.connect(address)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def developers_database(driver: str, name: str) -> Iterator[str]:
    """Make a database as developers have; give its address for asyncpg or aiosqlite; drop it."""
    if driver == "aiosqlite":
        yield f"sqlite+aiosqlite:///{name}.db"
        return
    server = require_server("postgresql")
    python = (UV, "run", "--quiet", "--no-project", "--with", "asyncpg", "python", "-c", EXECUTE)
    name = f"{name}_of_developers"
    drop = f"DROP DATABASE IF EXISTS {name}"  # a run that was killed may have left it
    subprocess.run([*python, server, drop, f"CREATE DATABASE {name}"], check=True)
    try:
        address = server.removesuffix("/postgres").replace("postgresql", "postgresql+asyncpg")
        yield f"{address}/{name}"
    finally:
        subprocess.run([*python, server, drop], check=True)
