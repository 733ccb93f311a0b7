"""What is rendered: what was chosen, and nothing else."""

import re
import tomllib
from collections.abc import Callable

import pytest

from .combinations import BACKENDS, ISOLATIONS, RUNNERS, Combination
from .conftest import Generate
from .pythons import SUPPORTED

ALWAYS = {
    ".copier-answers.yml",
    ".env.example",
    ".gitignore",
    "README.md",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_items.py",
    "pyproject.toml",
    "src/my_app/__init__.py",
    "src/my_app/database.py",
    "src/my_app/health.py",
    "src/my_app/items.py",
    "src/my_app/main.py",
    "src/my_app/models.py",
    "src/my_app/py.typed",
    "src/my_app/settings.py",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/harness/README.md",
    "tests/harness/__init__.py",
    "tests/harness/answers.py",
    "tests/harness/application.py",
    "tests/harness/backend.py",
    "tests/harness/errors.py",
    "tests/harness/fixtures.py",
    "tests/harness/isolation.py",
    "tests/harness/lifecycle.py",
    "tests/harness/loop.py",
    "tests/harness/notes.py",
    "tests/harness/report.py",
    "tests/harness/schema.py",
    "tests/harness/thread.py",
    "tests/harness/watch.py",
    "tests/harness/test_contract.py",
    "tests/harness/test_project.py",
    "tests/harness/ruff.toml",
    "tests/test_health.py",
    "tests/test_items.py",
}
ONLY_IF: dict[str, Callable[[Combination], bool]] = {
    "tests/harness/clones.py": lambda chosen: chosen.isolation == "clone",
    "tests/harness/cloning.py": lambda chosen: chosen.isolation != "create_drop",
    "tests/harness/connection.py": lambda chosen: chosen.backend != "sqlite",
    "tests/harness/inputs.py": lambda chosen: chosen.isolation != "create_drop",
    "tests/harness/keeper.py": lambda chosen: (
        (chosen.backend, chosen.isolation) == ("postgresql", "reset")
    ),
    "tests/harness/prepared.py": lambda chosen: chosen.isolation != "create_drop",
    "tests/harness/reset.py": lambda chosen: chosen.isolation in ("savepoint", "reset"),
    "tests/harness/server.py": lambda chosen: chosen.backend == "postgresql",
    "tests/harness/sandbox.py": lambda chosen: chosen.isolation == "savepoint",
    "tests/harness/dialect.py": lambda chosen: chosen.isolation == "savepoint",
    "tests/harness/driver.py": lambda chosen: chosen.isolation == "savepoint",
}


def check_files(files: dict[str, str], combination: Combination) -> None:
    """Check that what was rendered is what was chosen, and has no debris of templates.

    Raises:
        AssertionError: it has.
    """
    assert set(files) == ALWAYS | {path for path, when in ONLY_IF.items() if when(combination)}

    others = ({*BACKENDS, *ISOLATIONS, *RUNNERS, "pytest_asyncio"}) - {*combination}
    if combination.runner == "pytest-asyncio":
        others.remove("pytest_asyncio")
    if combination.isolation == "savepoint":
        others.remove("reset")  # undoes real commits
    if combination.isolation in ("savepoint", "reset"):
        others.remove("clone")  # of the prepared database
    pattern = re.compile(rf"\b({'|'.join(others)})\b")
    for path, content in files.items():
        if path not in ("tests/harness/README.md", ".copier-answers.yml"):
            assert not pattern.search(content), path

        assert "{%" not in content, path
        assert "{{" not in content, path
        assert not re.search(r"[ \t]$", content, re.MULTILINE), path
        assert not re.search(r"\n{4}|\A\n|\n\n\Z", content), path
        assert not content or content.endswith("\n"), path


@pytest.mark.parametrize("python_min", SUPPORTED)
def test_the_oldest_python(generate_installed: Generate, python_min: str) -> None:
    project = generate_installed(python_min=python_min)
    pyproject = tomllib.loads(project.files()["pyproject.toml"])
    assert pyproject["project"]["requires-python"] == f">={python_min}"
    project.check()
