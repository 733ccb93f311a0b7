"""The lists of CONTRIBUTING.md are short, and name all that an addition touches.

Each test does what a list says in a copy of this repository, with something made up, and then runs
tests of the copy.
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml

from .conftest import Generate
from .generated import TEMPLATE, GeneratedProject, copy_template, render

VARIANTS = "template/_variants"
ISOLATIONS = f"{VARIANTS}/harness/isolation"
SANDBOX_DRIVERS = f"{VARIANTS}/harness/sandbox/driver"

Addition = tuple[str, str, str]
"""A file, a text in it that ends where something is added, and what; a new file has no text."""

DRIVER: list[Addition] = [
    (
        f"{VARIANTS}/drivers.jinja",
        '"requirement": "aiosqlite>=0.22.1"},\n',
        '    "quicklite": {"backend": "sqlite", "requirement": "quicklite @ file://{package}"},\n',
    ),
    ("copier.yml", ": aiosqlite\n", "    quicklite - SQLite, made up: quicklite\n"),
    (
        f"{SANDBOX_DRIVERS}/quicklite.py",
        "",
        (TEMPLATE / SANDBOX_DRIVERS / "aiosqlite.py").read_text().replace("aiosqlite", "quicklite"),
    ),
    (f"{VARIANTS}/taken_names.jinja", "pyyaml", " quicklite"),
    ("README.md", "| `driver` | **asyncpg**, psycopg, aiosqlite,", " quicklite,"),
    (".github/workflows/ci.yml", "driver: [asyncpg, psycopg, aiosqlite,", " quicklite,"),
]
PACKAGE = {
    "pyproject.toml": """
[project]
name = "quicklite"
version = "1.0"
dependencies = ["aiosqlite>=0.22.1"]

[project.entry-points."sqlalchemy.dialects"]
"sqlite.quicklite" = "quicklite:Dialect"

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"
""",
    "src/quicklite/__init__.py": """
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite


class Dialect(SQLiteDialect_aiosqlite):
    driver = "quicklite"
    supports_statement_cache = True
""",
}
"""The driver: aiosqlite by another name."""

ISOLATION: list[Addition] = [
    (
        f"{ISOLATIONS}/rebuild.py",
        "",
        (TEMPLATE / ISOLATIONS / "create_drop.py").read_text().replace("create_drop", "rebuild"),
    ),
    ("copier.yml", "empty tables. Slow.\n", "       rebuild is made up.\n"),
    ("copier.yml", ": create_drop\n", "    rebuild - made up: rebuild\n"),
    (f"{VARIANTS}/refusals.jinja", '"clone", "create_drop"', ', "rebuild"'),
    (
        "template/{{ harness_path }}/__init__.py.jinja",
        "    It costs a copy of the database, and new connections.\n",
        '{% elif isolation == "rebuild" %}\n    A test shows what is made up.\n',
    ),
    (
        "template/{{ harness_path }}/README.md.jinja",
        "copy of the prepared database, made ahead, and new connections.\n",
        '{% elif isolation == "rebuild" %}\n* **Isolation: rebuild.** It is made up.\n',
    ),
    ("README.md", "| `isolation` | **savepoint**, reset, clone, create_drop", ", rebuild"),
    ("README.md", "| speed | 100 or more |\n", "| rebuild | it is | made up | 100 |\n"),
]

QUESTION: list[Addition] = [
    (
        "copier.yml",
        "  default: proprietary\n",
        "\ncolour:\n  type: str\n  help: Made up\n  choices: [none, red]\n  default: none\n",
    ),
    (f"{VARIANTS}/refusals.jinja", '"BSD-3-Clause"],\n', '    "colour": ["none", "red"],\n'),
    (
        "template/pyproject.toml.jinja",
        'readme = "README.md"\n',
        '{% if colour != "none" %}\nkeywords = ["{{ colour }}"]\n{% endif %}\n',
    ),
    ("README.md", "nothing if proprietary |\n", "| `colour` | **none**, red | made up |\n"),
]


@pytest.fixture
def repository(tmp_path: Path) -> GeneratedProject:
    """A copy of this repository, to work on."""
    folder = copy_template(tmp_path / "repository")
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(TEMPLATE / name, folder)
    for name in (".github", "tests"):
        shutil.copytree(TEMPLATE / name, folder / name)
    return GeneratedProject(folder)


def extend(repository: GeneratedProject, heading: str, name: str, additions: list[Addition]) -> int:
    """Make `additions`, each where the list under `heading` says; return how many places it has.

    Raises:
        AssertionError: they are elsewhere, or a text is not there, or more than once.
    """
    for path, text, added in additions:
        file = repository.path / path
        before = file.read_text() if text else ""
        assert not text or before.count(text) == 1, (path, text)
        file.write_text(before.replace(text, text + added) if text else added)
    _, _, section = (TEMPLATE / "CONTRIBUTING.md").read_text().partition(f"\n### {heading}\n")
    places = re.findall(r"^\d\. `(.*?)`", section.partition("\n##")[0], re.MULTILINE)
    assert {re.sub("<.*>", name, place) for place in places} == {path for path, *_ in additions}
    return len(additions)


def run_tests(repository: GeneratedProject, *arguments: str) -> None:
    """Run tests of the copy.

    Raises:
        AssertionError: one fails.
    """
    output = repository.run(sys.executable, "-m", "pytest", "-n", "0", *arguments)
    assert " skipped" not in output


def test_a_driver(repository: GeneratedProject, tmp_path: Path) -> None:
    package = tmp_path / "quicklite"
    for name, content in PACKAGE.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    additions = [
        (path, text, added.replace("{package}", str(package))) for path, text, added in DRIVER
    ]
    assert extend(repository, "Add a driver", "quicklite", additions) <= 6
    run_tests(
        repository, "tests/test_matrix.py", "-k", "quicklite-savepoint-session-anyio or tried"
    )
    run_tests(repository, "tests/test_answers.py", "-k", "refusals_know")


def test_an_isolation_strategy(repository: GeneratedProject) -> None:
    assert extend(repository, "Add an isolation strategy", "rebuild", ISOLATION) <= 8
    run_tests(repository, "tests/test_matrix.py", "-k", "aiosqlite-rebuild-function-anyio or tried")
    run_tests(repository, "tests/test_answers.py", "-k", "refusals_know")


def test_a_question(repository: GeneratedProject, generate: Generate, tmp_path: Path) -> None:
    before = generate().files()
    assert extend(repository, "Add a question", "colour", QUESTION) <= 4
    after = render(tmp_path / "after", repository.path).files()
    assert yaml.safe_load(after.pop(".copier-answers.yml"))["colour"] == "none"
    assert after == {path: before[path] for path in before if path != ".copier-answers.yml"}
    other = render(tmp_path / "other", repository.path, colour="red").files()
    assert tomllib.loads(other["pyproject.toml"])["project"]["keywords"] == ["red"]
    with pytest.raises(copier.errors.UserMessageError, match="colour=none of it: one of none, red"):
        render(tmp_path / "refused", repository.path, colour="none of it")
    run_tests(repository, "tests/test_answers.py", "-k", "refusals_know")
    dialogues = "enter_alone or order_of_decisions or whole_dialogue"
    run_tests(repository, "tests/test_prompts.py", "tests/test_terminal.py", "-k", dialogues)
