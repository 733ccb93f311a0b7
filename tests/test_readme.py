"""What the pages show, tried."""

import re
import shutil
from pathlib import Path

from .conftest import Generate
from .existing import developers_database
from .generated import TEMPLATE, GeneratedProject

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
