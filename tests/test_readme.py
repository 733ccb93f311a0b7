"""What the pages show, tried."""

import re
import shutil
from pathlib import Path

from .conftest import Generate
from .existing import developers_database
from .generated import GIT, TEMPLATE, GeneratedProject, commit
from .pythons import UV

README = (TEMPLATE / "README.md").read_text()
IMPORTS = """\
import asyncio

import httpx2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from my_app.models import AuditEntry, Item


"""


def test_the_example(generate_installed: Generate) -> None:
    """It passes in a project of the defaults, and is clean there."""
    project = generate_installed()
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (project.path / "tests/test_example.py").write_text(IMPORTS + example)
    assert "2 passed" in project.run("pytest", "tests/test_example.py")
    project.check()


def commands(page: str, section: str) -> list[str]:
    """Return the commands that a section of a page shows, without comments."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return re.findall(r"^\$ (.*?)(?: +#.*)?$", text, re.MULTILINE)


def test_the_first_steps(template: Path, tmp_path: Path) -> None:
    """From a clone to a project that serves: each command of both READMEs, one after the other."""
    clone = GeneratedProject(shutil.copytree(template, tmp_path / "loopsafe"), GIT)
    commit(clone.path)
    output = clone.run("bash", "-ec", "\n".join(["cd ..", *commands(README, "Start")]))
    assert re.search(r"^=+ \d+ passed", output, re.MULTILINE)
    project = GeneratedProject(tmp_path / "my-app", GIT)
    page = (project.path / "README.md").read_text()
    *prepare, serve = commands(page, "Run it")
    with developers_database("asyncpg", "readme") as address:
        project.run("bash", "-ec", "\n".join(prepare), DATABASE_URL=address)
        check = project.run(UV, "run", "alembic", "check", DATABASE_URL=address)
        assert "No new upgrade operations detected" in check
        with project.serve(*serve.split(), DATABASE_URL=address) as server:
            assert server.fetch("/health/ready") == b'{"status":"ok"}'
            assert b"/openapi.json" in server.fetch("/docs")
            assert server.fetch("/items") == b"[]"
    output = project.run("bash", "-ec", "\n".join(commands(page, "Test it")))
    assert re.search(r"^=+ \d+ passed", output, re.MULTILINE)
    assert (project.path / ".git/hooks/pre-commit").exists()


def test_the_rescue(template: Path, tmp_path: Path) -> None:
    """Each command is given to a shell, and prints what is shown."""
    shutil.copytree(template, tmp_path / "loopsafe")
    shutil.copytree(TEMPLATE / "docs", tmp_path / "loopsafe/docs")
    notes = GeneratedProject(tmp_path / "notes")
    page = (TEMPLATE / "docs/rescue/README.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    with developers_database("asyncpg", "notes") as address:
        for language, block in blocks:
            if language == "toml":
                pyproject = notes.path / "pyproject.toml"
                pyproject.write_text(pyproject.read_text().split("[tool.pytest]")[0] + block)
                continue
            commands = "\n".join(re.findall(r"^\$ (.*)", block, re.MULTILINE))
            shown = re.findall(r"^(?!\$ )(.+)", block, re.MULTILINE)
            output = (notes if notes.path.exists() else GeneratedProject(tmp_path)).run(
                "bash", "-c", commands, exit_code=int("4 failed" in shown), DATABASE_URL=address
            )
            assert [line for line in shown if line not in output] == [], output
    assert len(blocks) == 7
