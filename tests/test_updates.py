"""`copier update`: every switch lands on a fresh render, and what the owner has done survives."""

import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from difflib import ndiff
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import copier
import pytest
import yaml

from . import owner
from .combinations import COMBINATIONS, Combination, asked
from .conftest import Environment
from .generated import TEMPLATE, GeneratedProject, commit, copy_template, git, render

Switch = tuple[Combination, Combination]

SEED = os.environ.get("SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or "0"
"""The same in all processes of a run, and another one in each run."""
CHUNKS = 8
"""How many tests the switches are spread over."""
OTHERS = 4
"""How many switches of several answers at once are tried."""


def switches() -> list[Switch]:
    """Return all ordered pairs of combinations that differ in one answer."""
    return [
        (old, new)
        for old in COMBINATIONS
        for new in COMBINATIONS
        if sum(map(str.__ne__, old, new)) == 1
    ]


def one_of_each_kind(switches: list[Switch], choice: random.Random) -> list[Switch]:
    """Return, for each pair of values that an answer can change from and to, one of `switches`."""
    kinds = defaultdict(list)
    for old, new in switches:
        kinds[*(values for values in zip(old, new, strict=True) if values[0] != values[1])].append(
            (old, new)
        )
    return [choice.choice(found) for found in kinds.values()]


def circuit(switches: list[Switch]) -> list[Switch]:
    """Order `switches` so that each begins where the last one has ended (Hierholzer's way)."""
    left = defaultdict(list)
    for old, new in switches:
        left[old].append(new)
    stack, path = [switches[0][0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            path.append(stack.pop())
    path.reverse()
    return [*pairwise(path)]


def chosen_switches() -> list[Switch]:
    """Return all switches if EVERY_SWITCH is set; else some of each kind."""
    every = switches()
    if os.environ.get("EVERY_SWITCH"):
        return circuit(every)
    choice = random.Random(SEED)
    others = [(old, new) for old in COMBINATIONS for new in COMBINATIONS if old != new]
    return one_of_each_kind(every, choice) + choice.sample(others, OTHERS)


def chunks(switches: list[Switch]) -> Iterable[list[Switch]]:
    size = -(-len(switches) // CHUNKS)
    return (switches[start : start + size] for start in range(0, len(switches), size))


@pytest.fixture(scope="module", autouse=True)
def temporary_files(quick_folder: Path) -> Iterator[None]:
    """Let copier make its temporary files there, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(quick_folder))
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a test's projects."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a repository with one version."""
    folder = copy_template(tmp_path_factory.mktemp("released"))
    commit(folder, tag="v1.0.0")
    return folder


@pytest.fixture
def make(released: Path, folder: Path) -> Callable[..., GeneratedProject]:
    """Render a project of that version, and commit it."""

    def make(name: str = "project", **answers: Any) -> GeneratedProject:
        project = render(folder / name, released, **answers)
        commit(project.path)
        return project

    return make


def update(project: GeneratedProject, version: str | None = None, **answers: Any) -> None:
    """Update a project to `version`, or change answers only, and commit that."""
    copier.run_update(
        project.path,
        data=answers,
        vcs_ref=version or copier.VcsRef.CURRENT,
        defaults=True,
        overwrite=True,
        quiet=True,
    )
    commit(project.path)


@pytest.fixture(scope="session")
def fresh(
    released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Combination], dict[str, str]]:
    """Return what a fresh project of a combination has in its files."""
    known: dict[Combination, dict[str, str]] = {}

    def fresh(combination: Combination) -> dict[str, str]:
        if combination not in known:
            folder = tmp_path_factory.mktemp(str(combination))
            known[combination] = render(folder, released, **combination._asdict()).files()
        return known[combination]

    return fresh


@pytest.mark.parametrize("number", range(CHUNKS))
def test_every_switch_lands_on_a_fresh_render(
    make: Callable[..., GeneratedProject],
    fresh: Callable[[Combination], dict[str, str]],
    number: int,
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where the test fails
    project, now = None, None
    for place, (old, new) in enumerate([*chunks(chosen_switches())][number]):
        if project is None or now != old:
            project = make(f"project-{place}", **old._asdict())
        update(project, **changed(old, new))
        assert project.files() == fresh(new), f"{old} -> {new}"
        now = new


def changed(old: Combination, new: Combination) -> dict[str, str]:
    """Return the answers that differ."""
    return {name: answer for name, answer in new._asdict().items() if getattr(old, name) != answer}


OTHER_STEPS: list[dict[str, Any]] = [
    {"schema": "models", "docker": False, "ci": "gitlab", "shards": "3"},
    {"python_min": "3.13", "license": "MIT", "shards": "1"},
    {"ci": "none", "private_server": False, "test_client": True},
    {"schema": "migrations", "license": "Apache-2.0", "postgresql_version": "16"},
    {"python_min": "3.14", "docker": True},
    {"python_min": "3.12", "license": "proprietary", "ci": "github"},
    {"python_min": "3.11", "private_server": True, "test_client": False},
]


def test_switches_of_other_questions_land_there_too(
    released: Path, folder: Path, make: Callable[..., GeneratedProject]
) -> None:
    project = make()
    answers: dict[str, Any] = {"driver": "asyncpg"}
    for number, step in enumerate(OTHER_STEPS):
        answers |= step
        update(project, **step)
        fresh = render(folder / f"fresh-{number}", released, **asked(answers))
        assert project.files() == fresh.files()


LATER = {"docker": False, "ci": "none", "test_client": True}
"""Questions that are recommended another answer than what was rendered before there were any."""

ROUTE = [
    {"driver": "psycopg"},
    {"driver": "aiosqlite"},
    {"driver": "asyncmy"},
    {"driver": "aiomysql", "isolation": "reset"},
    {"loop_scope": "class"},
    {"runner": "anyio"},
    {"driver": "asyncpg", "loop_scope": "module"},
    {"isolation": "clone", "schema": "models"},
    {"loop_scope": "class", "python_min": "3.12"},
    {"isolation": "create_drop", "schema": "migrations"},
    {"loop_scope": "function", "runner": "pytest-asyncio"},
    {"isolation": "savepoint", "loop_scope": "session", "python_min": "3.11"},
]
"""Every question is answered in another way, and at last as in the beginning."""


@pytest.fixture
def lived_in(
    make: Callable[..., GeneratedProject], environment: Environment
) -> tuple[GeneratedProject, dict[str, list[str]]]:
    """A project after its first year, and the lines that are its owner's."""
    project = make()
    before = project.files()
    owner.live_in(replace(project, variables=environment("asyncpg", "pytest-asyncio")))
    commit(project.path)
    after = project.files()
    lines = {
        path: [
            line[2:]
            for line in ndiff(before.get(path, "").splitlines(), after[path].splitlines())
            if line.startswith("+ ")
        ]
        for path in after
    }
    assert not any(lines[path] for path in lines if path.startswith("tests/harness/"))
    return project, lines


def owned(paths: Iterable[str]) -> set[str]:
    """Return those of `paths` that neither the template owns nor an answer decides about."""
    decided = {"src/my_app/sqlite.py", "tests/test_migrations.py"}
    return {path for path in paths if "harness" not in path} - decided


def check_nothing_is_lost(project: GeneratedProject, lines: dict[str, list[str]]) -> None:
    """Check that an update has left no conflict and no file that was deleted, and lost no line.

    Raises:
        AssertionError: it has.
    """
    files = project.files()
    assert not [path for path, content in files.items() if "<<<<<<< before updating" in content]
    assert owned(lines) == owned(files)
    for path, added in lines.items():
        present = files.get(path, "").splitlines()
        assert not [line for line in added if line not in present], path


def test_the_owner_s_work_survives_every_switch(
    lived_in: tuple[GeneratedProject, dict[str, list[str]]], environment: Environment
) -> None:
    project, lines = lived_in
    before = project.files()
    answers = Combination()._asdict()
    for number, change in enumerate(ROUTE):
        update(project, **change)
        check_nothing_is_lost(project, lines)
        answers |= {name: answer for name, answer in change.items() if name in answers}
        if number % 2:
            installed = environment(answers["driver"], answers["runner"])
            output = replace(project, variables=installed).run("pytest")
            assert f"{answers['driver']}, {answers['isolation']}" in output
    assert project.files() == before


def test_the_year_of_a_license_stays(make: Callable[..., GeneratedProject]) -> None:
    project = make(license="MIT", copyright_year="2019")
    before = project.files()
    update(project, runner="anyio")
    assert project.files()["LICENSE"] == before["LICENSE"]
    assert "copyright_year: '2019'" in project.files()[".copier-answers.yml"]


def test_answers_that_are_not_as_recommended_stay(make: Callable[..., GeneratedProject]) -> None:
    """One question stands for them, and what it skips must not be forgotten."""
    chosen = {"isolation": "reset", "loop_scope": "class", "runner": "anyio", "schema": "models"}
    project = make(python_min="3.12", **chosen)
    before = project.files()
    update(project)
    assert project.files() == before
    # As a job without a terminal would: a question that is asked is an error here.
    options: dict[str, Any] = {"vcs_ref": copier.VcsRef.CURRENT, "overwrite": True, "quiet": True}
    copier.run_update(project.path, skip_answered=True, **options)
    copier.run_recopy(project.path, skip_answered=True, **options)
    assert project.files() == before
    update(project, isolation="clone")
    changed = {path for path, text in project.files().items() if text != before.get(path)}
    assert "isolation: clone\n" in project.files()[".copier-answers.yml"]
    assert changed > {".copier-answers.yml", "tests/harness/isolation.py"}


def test_the_owner_s_work_survives_a_new_version(
    released: Path, lived_in: tuple[GeneratedProject, dict[str, list[str]]]
) -> None:
    project, lines = lived_in
    template = release_another(released, project.path.parent / "template")
    recorded = project.path / ".copier-answers.yml"
    owner.replace(recorded, f"_src_path: {released}", f"_src_path: {template}")
    commit(project.path)
    update(project, "v2.0.0")
    check_nothing_is_lost(project, lines)
    files = project.files()
    assert "TASK_END_TIMEOUT: Final = 0.2\n" in files["tests/harness/watch/watch.py"]
    assert "# A word more.\n" in files["src/my_app/health.py"]
    assert '"alembic>=1.21",' in files["pyproject.toml"]
    assert files["README.md"] == owner.README


def release_another(released: Path, folder: Path) -> Path:
    """Return a copy of a template's repository with another version, v2.0.0."""
    git(released.parent, "clone", "--quiet", str(released), str(folder))
    watch = folder / "template/{{ harness_path }}/watch/watch.py.jinja"
    owner.replace(watch, "TASK_END_TIMEOUT: Final = 0.1", "TASK_END_TIMEOUT: Final = 0.2")
    owner.append(folder / "template/src/{{ package_name }}/health.py", "# A word more.\n")
    owner.replace(folder / "template/pyproject.toml.jinja", "alembic>=1.20", "alembic>=1.21")
    owner.append(folder / "template/README.md.jinja", "\nThe README says more.\n")
    commit(folder, tag="v2.0.0")
    return folder


def test_a_new_version_is_announced(
    released: Path, folder: Path, make: Callable[..., GeneratedProject]
) -> None:
    """`check-update --quiet`, for a scheduled job, exits with 2 where there is one."""
    project = make()
    template = release_another(released, folder / "template")
    owner.replace(project.path / ".copier-answers.yml", str(released), str(template))
    commit(project.path)
    check = (sys.executable, "-m", "copier", "check-update")
    assert "New template version available" in project.run(*check)
    project.run(*check, "--quiet", exit_code=2)
    update(project, "v2.0.0")
    project.run(*check, "--quiet")


def test_a_conflict_is_there_to_see(
    make: Callable[..., GeneratedProject], capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner has edited a line of the template's that a switch changes, too."""
    project = make()
    owner.replace(project.path / "src/my_app/database.py", "pool_pre_ping=True", "pool_size=50")
    commit(project.path)
    copier.run_update(
        project.path,
        data={"driver": "asyncmy"},
        vcs_ref=copier.VcsRef.CURRENT,
        defaults=True,
        overwrite=True,
    )
    assert 'git status             # "both modified" is a conflict' in capsys.readouterr().err
    assert "both modified:   src/my_app/database.py" in git(project.path, "status")
    content = project.files()["src/my_app/database.py"]
    assert "<<<<<<< before updating\n" in content
    assert "pool_size=50" in content
    assert "READ COMMITTED" in content


def test_what_the_owner_has_deleted_stays_deleted(make: Callable[..., GeneratedProject]) -> None:
    project = make()
    owner.delete_the_example(project.path)
    commit(project.path)
    before = {*project.files()}
    update(project, runner="anyio")
    assert {*project.files()} == before


def test_another_package_must_be_moved_first(make: Callable[..., GeneratedProject]) -> None:
    project = make()
    owner.append(project.path / "src/my_app/settings.py", "# Mine.\n")
    commit(project.path)
    with pytest.raises(copier.errors.UserMessageError, match=r"git mv src/\.\.\. src/shop first"):
        update(project, package_name="shop")
    assert not git(project.path, "status", "--short")
    git(project.path, "mv", "src/my_app", "src/shop")
    commit(project.path)
    update(project, package_name="shop")
    files = project.files()
    assert "# Mine.\n" in files["src/shop/settings.py"]
    assert 'PROJECT: Final = "shop" ' in files["tests/harness/application.py"]


def test_a_question_that_has_another_name_keeps_its_answer(
    released: Path, folder: Path, make: Callable[..., GeneratedProject]
) -> None:
    """As CONTRIBUTING says how to do it; and a new question changes nothing by itself."""
    project = make(user_name="Ann", loop_scope="class")
    before = project.files()
    template = folder / "template"
    git(folder, "clone", "--quiet", str(released), str(template))
    for file in (
        "copier.yml",
        "template/pyproject.toml.jinja",
        "template/_variants/refusals.jinja",
    ):
        path = template / file
        path.write_text(path.read_text().replace("user_name", "author"))
    questions = template / "copier.yml"
    owner.replace(
        questions,
        'Your name (may stay empty)\n  default: ""',
        "Your name (may stay empty)\n  default: \"{{ user_name | default('') }}\"",
    )
    owner.append(questions, "\ncolour:\n  type: str\n  default: none\n")
    refusals = template / "template/_variants/refusals.jinja"
    owner.replace(refusals, "{% set former = [] %}", '{% set former = ["user_name"] %}')
    owner.replace(refusals, '["project_name",', '["colour", "project_name",')
    commit(template, tag="v2.0.0")
    owner.replace(project.path / ".copier-answers.yml", str(released), str(template))
    commit(project.path)
    update(project, "v2.0.0")
    after = project.files()
    assert "\nauthor: Ann\n" in after[".copier-answers.yml"]
    assert {path for path in after if after[path] != before.get(path)} == {".copier-answers.yml"}
    update(project, "v2.0.0", driver="psycopg")  # a former name in the answers is no hindrance


def test_an_older_project_gets_no_file_unasked(released: Path, folder: Path) -> None:
    """What new projects are recommended, a question brings to others only if it is answered."""
    template = folder / "template"
    git(folder, "clone", "--quiet", str(released), str(template))
    questions = template / "copier.yml"
    now = questions.read_text()
    older = yaml.safe_load(now)
    for question, answer in LATER.items():
        older[question] = {"type": older[question]["type"], "when": False, "default": answer}
    questions.write_text(yaml.safe_dump(older, sort_keys=False))
    commit(template, tag="v2.0.0")
    questions.write_text(now)
    commit(template, tag="v3.0.0")
    project = GeneratedProject(folder / "[project]")  # a name that is a pattern, too
    options: dict[str, Any] = {"defaults": True, "quiet": True}
    copier.run_copy(str(template), project.path, vcs_ref="v2.0.0", **options)
    commit(project.path)
    before = project.files()
    update(project, "v3.0.0")
    after = project.files()
    assert {path for path in after if after[path] != before.get(path)} == {".copier-answers.yml"}
    assert LATER.items() <= yaml.safe_load(after[".copier-answers.yml"]).items()
    fresh = GeneratedProject(folder / "fresh")
    copier.run_copy(str(template), fresh.path, **options)
    recommended = yaml.safe_load(fresh.files()[".copier-answers.yml"])
    for path in fresh.files():  # an update never touches these
        if path in ("README.md", "tests/conftest.py"):
            (project.path / path).write_text(fresh.files()[path])
    commit(project.path)
    update(project, **{question: recommended[question] for question in LATER})
    assert project.files() == fresh.files()


def test_the_newest_version_can_update_to_what_is_here(folder: Path) -> None:
    """Projects of the newest tag, or of the last commit as long as there is none, get there."""
    template = folder / "template"
    git(folder, "clone", "--quiet", "--no-local", str(TEMPLATE), str(template))
    tags = git(template, "tag", "--list", "v*", "--sort=-version:refname").split()
    newest = tags[0] if tags else "v0.0.1"
    if not tags:
        git(template, "tag", newest)
    for name in ("copier.yml", "template"):
        git(template, "rm", "-r", "--quiet", name)
    git(template, "checkout-index", "--all")
    copy_template(template)
    owner.append(template / "template/tests/conftest.py", "# Another version.\n")
    commit(template, tag="v9999.0.0")
    for number, combination in enumerate(COMBINATIONS[::20]):
        project, fresh = (GeneratedProject(folder / f"{name}-{number}") for name in ("old", "new"))
        answers = combination._asdict()
        options: dict[str, Any] = {"data": answers, "defaults": True, "quiet": True}
        copier.run_copy(str(template), project.path, vcs_ref=newest, **options)
        commit(project.path)
        update(project, "v9999.0.0")
        # A question that the old version did not have is answered by what that has rendered.
        recorded = yaml.safe_load((project.path / ".copier-answers.yml").read_text())
        options["data"] = {name: recorded[name] for name in recorded if name[0] != "_"}
        copier.run_copy(str(template), fresh.path, vcs_ref="v9999.0.0", **options)
        got, wanted = project.files(), fresh.files()
        for path in ("AGENTS.md", "README.md", "tests/conftest.py"):  # its owner's
            assert got.pop(path) != wanted.pop(path) or path != "tests/conftest.py"
        assert got == wanted
