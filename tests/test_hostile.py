"""Whatever is answered: it is refused before anything is written, or it can do no harm."""

import ast
import os
import random
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import copier
import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from .conftest import Generate
from .generated import GeneratedProject, render

Answers = dict[str, str]

SEED = int(os.environ.get("SEED", random.randrange(10**6)))
EXAMPLES = int(os.environ.get("EXAMPLES", 50))
"""In each of two processes."""
TESTED = 3
"""So many of the projects of each process are checked with all tools, and tested."""

FRAGMENTS = [
    *('"', "'", '"""', "'''", "\\", "\\\\", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\x85"),
    *("\u2028", "\u202e", "\u200f", "\ufeff", "🚀", "é", "日本", "my_app", "a", " ", ".", "class"),
    *("{{ 7 * 7 }}", "{% raw %}", "{# #}", "<<: ", "%YAML", "---", "|", ">", "@", "`", "&a *a"),
    *('"\nbuild-backend = "evil', "\n[project]\n", "]]", "# ", ": ", "- ", "!!python/name:os"),
    *("$(id)", "${HOME}", "../", "/etc/passwd", "~", "C:\\", "import os", "2026-01-01"),
    *("null", "true", "no", "0x1f", "1e3"),
]
HOSTILE = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4), st.text("abcz_09 .-", max_size=6)),
    max_size=6,
).map("".join)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "project_name": st.one_of(HOSTILE, st.from_regex(r"\w[\w .-]{0,59}", fullmatch=True)),
        "package_name": st.one_of(HOSTILE, NAMES),
        "description": HOSTILE,
        "user_name": HOSTILE,
        "user_email": st.one_of(HOSTILE, st.emails()),
    },
)


@pytest.mark.parametrize("number", [0, 1])
def test_hostile_answers(
    template: Path, quick_folder: Path, generate_installed: Generate, number: int
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where the test fails
    harmless = render(quick_folder / "harmless", template, license="MIT").files()
    accepted: list[Answers] = []

    @seed(SEED + number)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(answers=ANSWERS)
    def try_answers(answers: Answers) -> None:
        with TemporaryDirectory(dir=quick_folder) as folder:
            try:
                project = render(Path(folder, "project"), template, license="MIT", **answers)
            except copier.errors.UserMessageError:
                assert not [*Path(folder).iterdir()]
            else:
                assert [file.name for file in Path(folder).iterdir()] == ["project"]
                check_harmless(project, answers, harmless)
                accepted.append(answers)

    try_answers()
    for answers in random.Random(SEED).sample(accepted, TESTED):
        project = generate_installed(folder=f"{accepted.index(answers)}", **answers)
        project.check()
        project.run("pytest")


def check_harmless(project: GeneratedProject, answers: Answers, harmless: dict[str, str]) -> None:
    """Check that `answers` have arrived as values, and that no more than names has changed.

    Raises:
        AssertionError: it has not.
    """
    files = project.files()
    recorded = yaml.safe_load(files[".copier-answers.yml"])
    package, name = recorded["package_name"], recorded["project_name"]
    expected = {path.replace("my_app", package): text for path, text in harmless.items()}
    assert files.keys() == expected.keys()

    asked = answers.keys() - (set() if answers.get("user_name") else {"user_email"})
    assert {key: recorded[key] for key in asked} == {key: answers[key] for key in asked}

    pyproject = tomllib.loads(files["pyproject.toml"])
    author = {"name": answers.get("user_name", "")}
    if author["name"] and answers.get("user_email"):
        author["email"] = answers["user_email"]
    assert pyproject["project"].pop("name") == package.replace("_", "-")
    assert pyproject["project"].pop("description") == answers.get("description", "")
    assert pyproject["project"].pop("authors", [{"name": ""}]) == [author]
    other = tomllib.loads(expected["pyproject.toml"].replace("my_app", package))
    del other["project"]["name"], other["project"]["description"]
    assert pyproject == other

    holder = author["name"] or f"The {name} authors"
    assert files.pop("LICENSE") == expected["LICENSE"].replace("The My App authors", holder)
    for path in files.keys() - {".copier-answers.yml", "pyproject.toml", "README.md"}:
        text = expected[path].replace("my_app", package).replace("My App", name)
        assert files[path] == text, path
        if path.endswith(".py"):
            ast.parse(files[path])
