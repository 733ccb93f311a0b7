"""What is rendered: what was chosen, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .combinations import BACKENDS, ISOLATIONS, RUNNERS, Combination
from .conftest import Generate
from .generated import commit
from .pythons import SUPPORTED

ALWAYS = {
    ".copier-answers.yml",
    ".env.example",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    "AGENTS.md",
    "README.md",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_items.py",
    "pyproject.toml",
    "src/my_app/__init__.py",
    "src/my_app/database.py",
    "src/my_app/database_url.py",
    "src/my_app/errors.py",
    "src/my_app/fields.py",
    "src/my_app/health.py",
    "src/my_app/items.py",
    "src/my_app/logs.py",
    "src/my_app/main.py",
    "src/my_app/models.py",
    "src/my_app/py.typed",
    "src/my_app/reviews.py",
    "src/my_app/settings.py",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/harness/README.md",
    "tests/harness/__init__.py",
    "tests/harness/answers.py",
    "tests/harness/application.py",
    "tests/harness/running/__init__.py",
    "tests/harness/running/client.py",
    "tests/harness/running/lifespan.py",
    "tests/harness/running/live_server.py",
    "tests/harness/running/session.py",
    "tests/harness/contract/__init__.py",
    "tests/harness/contract/example_app.py",
    "tests/harness/contract/test_contract.py",
    "tests/harness/database/__init__.py",
    "tests/harness/database/keep.py",
    "tests/harness/database/lifecycle.py",
    "tests/harness/database/schema.py",
    "tests/harness/database/server.py",
    "tests/harness/database/thread.py",
    "tests/harness/errors.py",
    "tests/harness/fixtures.py",
    "tests/harness/isolation.py",
    "tests/harness/ruff.toml",
    "tests/harness/test_project.py",
    "tests/harness/watch/__init__.py",
    "tests/harness/watch/guard.py",
    "tests/harness/watch/interrupt.py",
    "tests/harness/watch/log.py",
    "tests/harness/watch/loops.py",
    "tests/harness/watch/plugin.py",
    "tests/harness/watch/report.py",
    "tests/harness/watch/runner.py",
    "tests/harness/watch/tasks.py",
    "tests/harness/watch/watch.py",
    "tests/harness/watch/who.py",
    "tests/test_errors.py",
    "tests/test_health.py",
    "tests/test_items.py",
    "tests/test_reviews.py",
    "tests/test_settings.py",
}
SANDBOX = ("__init__", "connection", "driver", "fixture", "real_commits", "sandbox", "statements")
ONLY_IF: dict[str, Callable[[Combination], bool]] = {
    "database/admin.py": lambda chosen: chosen.backend != "sqlite",
    "database/default_server.py": lambda chosen: chosen.backend == "postgresql",
    **dict.fromkeys(
        (
            *("database/cloning.py", "database/inputs.py", "database/prepared.py"),
            "watch/shared_data.py",
        ),
        lambda chosen: chosen.isolation != "create_drop",
    ),
    "database/clones.py": lambda chosen: chosen.isolation == "clone",
    **dict.fromkeys(
        (f"sandbox/{name}.py" for name in SANDBOX),
        lambda chosen: chosen.isolation == "savepoint",
    ),
    **dict.fromkeys(
        ("reset/__init__.py", "reset/changes.py", "reset/reset.py"),
        lambda chosen: chosen.resets,
    ),
    "reset/levels.py": lambda chosen: chosen.isolation == "reset",
    "reset/keeper.py": lambda chosen: chosen.resets and chosen.backend == "postgresql",
}
"""What is rendered in tests/harness for some combinations, and for which."""

AROUND: dict[str, Callable[[dict[str, Any]], bool]] = {
    **dict.fromkeys(
        (".dockerignore", "Dockerfile", "compose.yaml"), lambda answers: answers["docker"]
    ),
    **dict.fromkeys(
        (".github/dependabot.yml", ".github/workflows/ci.yml"),
        lambda answers: answers["ci"] == "github",
    ),
    **dict.fromkeys((".gitlab-ci.yml", "renovate.json"), lambda answers: answers["ci"] == "gitlab"),
    "LICENSE": lambda answers: answers["license"] != "proprietary",
    "tests/harness/database/supervisor.py": lambda answers: answers.get("private_server", False),
    **dict.fromkeys(
        ("tests/harness/running/portal.py", "tests/harness/running/sync_client.py"),
        lambda answers: answers["test_client"],
    ),
    "src/my_app/sqlite.py": lambda answers: BACKENDS[answers["driver"]] == "sqlite",
    "tests/test_migrations.py": lambda answers: answers["schema"] == "migrations",
}
"""What is rendered for some answers to other questions, and for which."""


def check_files(files: dict[str, str], combination: Combination) -> None:
    """Check that what was rendered is what was chosen, and has no debris of templates.

    Raises:
        AssertionError: it has.
    """
    answers = yaml.safe_load(files[".copier-answers.yml"])
    chosen = {f"tests/harness/{path}" for path, when in ONLY_IF.items() if when(combination)}
    chosen |= {path for path, when in AROUND.items() if when(answers)}
    assert set(files) == ALWAYS | chosen

    others = ({*BACKENDS, *ISOLATIONS, *RUNNERS, "pytest_asyncio"}) - {*combination}
    if combination.runner == "pytest-asyncio":
        others.remove("pytest_asyncio")
    if combination.resets and combination.isolation == "savepoint":
        others.remove("reset")  # undoes real commits
    if combination.isolation != "create_drop":
        others.discard("clone")  # of the prepared database
    pattern = re.compile(rf"\b({'|'.join(others)})\b")
    for path, content in files.items():
        if path == "LICENSE":
            continue  # is what lawyers have written
        if path not in ("tests/harness/README.md", ".copier-answers.yml"):
            assert not pattern.search(content), path

        assert "{%" not in content, path
        assert "{{" not in content.replace("${{ ", ""), path  # an expression of GitHub's
        assert not re.search(r"[ \t]$", content, re.MULTILINE), path
        assert not re.search(r"\n{4}|\A\n|\n\n\Z", content), path
        assert not content or content.endswith("\n"), path


@pytest.mark.parametrize("python_min", SUPPORTED)
def test_the_oldest_python(generate_installed: Generate, python_min: str) -> None:
    project = generate_installed(python_min=python_min)
    pyproject = tomllib.loads(project.files()["pyproject.toml"])
    assert pyproject["project"]["requires-python"] == f">={python_min}"
    project.check()


@pytest.mark.parametrize(
    ("source", "address", "name"),
    [
        (
            "gh:somebody/template",
            "https://github.com/somebody/template.git",
            "[Loopsafe](https://github.com/somebody/template)",
        ),
        (
            "git+https://git.example.com/template.git",
            "https://git.example.com/template.git",
            "[Loopsafe](https://git.example.com/template)",
        ),
        (
            "https://ann:secret@git.example.com/template.git",
            "https://ann:secret@git.example.com/template.git",
            "Loopsafe",
        ),
        (
            "git@git.example.com:somebody/template.git",
            "git@git.example.com:somebody/template.git",
            "Loopsafe",
        ),
    ],
)
def test_the_project_links_to_where_it_came_from(
    template: Path, tmp_path: Path, source: str, address: str, name: str
) -> None:
    """And to nowhere else. Here, git finds the template on this machine at that address."""
    repository = shutil.copytree(template, tmp_path / "template")
    commit(repository, tag="v1.0.0")
    variables = {
        "COPIER_CACHE_DIR": str(tmp_path / "cache"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    command = (sys.executable, "-m", "copier", "copy", "--defaults", source, "project")
    subprocess.run(command, cwd=tmp_path, env=os.environ | variables, check=True)
    # Only there, a job can look for a newer version.
    jobs = yaml.safe_load((tmp_path / "project/.github/workflows/ci.yml").read_text())["jobs"]
    assert {*jobs} == {"lint", "test", "container", "template"}
    readme = (tmp_path / "project/README.md").read_text()
    assert f" {name} template: " in readme
    assert "secret" not in readme


def test_without_migrations_nothing_tests_them(generate: Generate) -> None:
    files, others = generate().files(), generate("other", schema="models").files()
    assert files.keys() - others.keys() == {"tests/test_migrations.py"}
    different = {path for path in others if others[path] != files[path]}
    assert {path for path in different if "harness" not in path} == {".copier-answers.yml"}


def test_no_link_to_a_folder(generate: Generate, template: Path) -> None:
    files = generate().files()
    assert "check-update" not in files[".github/workflows/ci.yml"]
    assert " Loopsafe template: " in files["README.md"]
    assert [path for path in files if str(template) in files[path]] == [".copier-answers.yml"]
