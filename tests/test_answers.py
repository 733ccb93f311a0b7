"""Answers that are no good are refused before anything is written; the others arrive as given."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml

from .combinations import ASKED, choices
from .conftest import Generate

REFUSED = [
    ("backend", "sqlite", "no such question"),
    ("project_name", "", "letters, digits, space . _ - only"),
    ("project_name", 'My "App"', "letters, digits, space . _ - only"),
    ("project_name", "My \\App", "letters, digits, space . _ - only"),
    ("project_name", "My App\n", "letters, digits, space . _ - only"),
    ("project_name", "My 🚀", "letters, digits, space . _ - only"),
    ("project_name", "../app", "letters, digits, space . _ - only"),
    ("project_name", "x" * 61, "letters, digits, space . _ - only"),
    ("package_name", "", "like my_app, at most 40 characters"),
    ("package_name", "My-App", "like my_app, at most 40 characters"),
    ("package_name", "1st", "like my_app, at most 40 characters"),
    ("package_name", "../app", "like my_app, at most 40 characters"),
    ("package_name", "app\n", "like my_app, at most 40 characters"),
    ("package_name", "x" * 41, "like my_app, at most 40 characters"),
    ("package_name", "class", "a keyword of Python"),
    ("package_name", "sqlalchemy", "taken by another package"),
    ("package_name", "tests", "taken by another package"),
    ("description", "two\nlines", "one line of plain text"),
    ("description", "a \x1b[31mred\x1b[0m one", "one line of plain text"),
    ("user_name", "Doe, Jane", "one line without commas"),
    ("user_email", "jane", "not an e-mail address"),
    ("user_email", 'jane"@example.com', "not an e-mail address"),
    ("python_min", "3.9", "one of "),
    ("recommended", "maybe", "yes or no"),
    ("driver", "oracle", "one of "),
    ("isolation", "none", "one of "),
    ("loop_scope", "test", "one of "),
    ("runner", "trio", "one of "),
    ("schema", "none", "one of "),
    ("shards", "0", "one of "),
    ("postgresql_version", "9.6", "one of "),
    ("license", "GPL", "one of "),
    ("copyright_year", "this one", "a year, like 2026"),
    ("description", None, "one line of text"),
    ("user_name", ["Ann"], "one line of text"),
    ("description", "\ud800", "one line of plain text"),
    ("_exclude", "*", "no such question"),
    ("isolaton", "reset", "isolaton=reset: no such question; there are project_name, "),
]


@pytest.mark.parametrize(("question", "answer", "message"), REFUSED)
def test_refused(
    generate: Generate, tmp_path: Path, question: str, answer: object, message: str
) -> None:
    author = {"user_name": "Jane"} if question == "user_email" else {}
    with pytest.raises(copier.errors.UserMessageError, match=re.escape(message)):
        generate(**author, **{question: answer})
    assert not (tmp_path / "project").exists()


def test_refusals_know_all_questions_and_choices(generate: Generate) -> None:
    with pytest.raises(copier.errors.UserMessageError) as unknown:
        generate(nonsense=1)
    assert {*ASKED} == {*str(unknown.value).partition("there are ")[2].strip("'").split(", ")}
    for name in ASKED:
        if "choices" in ASKED[name]:
            message = f"one of {', '.join(choices(name))}"
            with pytest.raises(copier.errors.UserMessageError, match=message):
                generate(**{name: "nonsense"})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"ci": "none", "shards": "2"}, "shards=2: not asked, with the other answers"),
        ({"driver": "aiosqlite", "postgresql_version": "17"}, "postgresql_version=17: not asked"),
        ({"app": "shop.main:app"}, "app=shop.main:app: not asked"),
        ({"scope": "harness", "license": "MIT"}, "license=MIT: not asked"),
    ],
)
def test_what_would_be_dropped_is_refused(
    generate: Generate, tmp_path: Path, answers: dict[str, str], message: str
) -> None:
    with pytest.raises(copier.errors.UserMessageError, match=message):
        generate(**answers)
    assert not (tmp_path / "project").exists()


def test_a_refusal_is_one_line(template: Path, tmp_path: Path) -> None:
    command = sys.executable, "-m", "copier", "copy", "--defaults", "--data"
    for data in ("driver=oracle", "package_name=class", "isolaton=reset"):
        process = subprocess.run(
            [*command, data, template, tmp_path / "project"], capture_output=True, text=True
        )
        assert process.returncode == 1
        assert process.stdout + process.stderr == f"{process.stderr.strip()}\n"
        assert data in process.stderr
        assert not (tmp_path / "project").exists()


HOSTILE = [
    "plain",
    'with "quotes" and \\backslashes\\',
    "it's {{ jinja }} and {% raw %} and # a comment",
    '"\nbuild-backend = "evil'.replace("\n", " "),
    "🚀 naïve \u202eright to left",
    "]]] '''' \"\"\"",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_free_text_arrives_as_given(generate: Generate, text: str) -> None:
    name = text.replace(",", "")
    files = generate(description=text, user_name=name, user_email="a@example.com").files()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["description"] == text
    assert project["authors"] == [{"name": name, "email": "a@example.com"}]
    assert yaml.safe_load(files[".copier-answers.yml"])["description"] == text
    for path, content in files.items():
        if path.endswith(".py"):
            ast.parse(content)


@pytest.mark.parametrize(
    ("project_name", "package_name"),
    [
        ("My App", "my_app"),
        ("Shop 2.0", "shop_2_0"),
        ("2 Shops", "shops"),
        ("日本語", "my_app"),
        ("Test", "test_app"),
        ("import", "import_app"),
        (
            "Customer relationship management for small shops",
            "customer_relationship_management_for",
        ),
        ("a__b--c", "a_b_c"),
    ],
)
def test_the_package_s_name_follows_the_project_s(
    generate: Generate, project_name: str, package_name: str
) -> None:
    assert f"src/{package_name}/main.py" in generate(project_name=project_name).files()


def test_names_that_nobody_has_given(generate: Generate) -> None:
    project = tomllib.loads(generate().files()["pyproject.toml"])["project"]
    assert "authors" not in project
