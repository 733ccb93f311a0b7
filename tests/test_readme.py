"""What the README shows, tried."""

import re

from .conftest import Generate
from .generated import TEMPLATE

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
