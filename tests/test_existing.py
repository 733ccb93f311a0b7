"""The harness beside applications that exist: no line of theirs is changed, their suites pass."""

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import copier
import pytest

from . import owner
from .combinations import sample
from .conftest import SERVERS, Generate
from .existing import ANSWERS_FILE, APPLICATIONS, bring_harness, render_harness
from .generated import GeneratedProject, commit, copy_template
from .pythons import UV

PLAIN_URL: Final = "DATABASE_URL=postgresql://{user}:{password}@{host}:{port}/{name}"
PARTS: Final = " ".join(
    f"DB_{part.upper()}={{{part}}}" for part in ("host", "port", "user", "password", "name")
)


class Style(NamedTuple):
    """What is asked of somebody who brings the harness beside an application."""

    answers: dict[str, Any]
    """Where the defaults, which are read from its files, do not fit."""
    database_env: Mapping[str, str] = MappingProxyType({})
    """By driver, where it is not DATABASE_URL."""
    loop_scopes: tuple[str, ...] = ("session", "module", "function")
    fits_savepoint: bool = True


STYLES: Final = {
    "module_engine": Style({}),
    "lifespan_state": Style(
        {
            "app": "wallet.main:create_app()",
            "database_env": "WALLET_DATABASE_URL",
            "runner": "anyio",
        },
        loop_scopes=("function",),
        fits_savepoint=False,  # it is REPEATABLE READ
    ),
    "manager_class": Style(
        {"engine": "", "lifespan": False},
        database_env={"asyncpg": PLAIN_URL},
        fits_savepoint=False,
    ),
    "container": Style(
        {"engine": "shop.main:app.container.engine()", "base_url": "https://api.example.com"},
        database_env={"asyncpg": PARTS, "aiosqlite": "DB_URL"},
    ),
    "lazy_getter": Style(
        {
            "engine": "bookmarks.database:get_engine()",
            "database_env": "SQLALCHEMY_DATABASE_URI",
            "runner": "anyio",
        },
        fits_savepoint=False,  # its commands have loops of their own
    ),
    "sqlmodel_app": Style({}, database_env={"asyncpg": PLAIN_URL}),
    "sync_and_async": Style({}, loop_scopes=("session",), fits_savepoint=False),
    "core_two_databases": Style(
        {
            "engine": "billing.databases:main_engine",
            "database_env": "MAIN_DATABASE_URL AUDIT_DATABASE_URL",
            "metadata": "billing.tables:main_metadata billing.tables:audit_metadata",
            "runner": "anyio",
            "lifespan": False,
        }
    ),
}


class Case(NamedTuple):
    """An application, and answers that other answers do not follow from."""

    application: str
    driver: str
    isolation: str
    loop_scope: str

    def __str__(self) -> str:
        return "-".join(self)


def every_case() -> list[Case]:
    """Return all cases that can work."""
    return [
        Case(application, driver, isolation, loop_scope)
        for application, style in STYLES.items()
        for driver in ("asyncpg", "aiosqlite")
        for isolation in ("reset", "savepoint")[: 1 + style.fits_savepoint]
        for loop_scope in style.loop_scopes
    ]


def answers_of(case: Case) -> dict[str, Any]:
    """Return what the questions are answered with."""
    style = STYLES[case.application]
    answers = style.answers | case._asdict()
    del answers["application"]
    if case.driver in style.database_env:
        answers["database_env"] = style.database_env[case.driver]
    return answers


@pytest.mark.parametrize("case", sample(every_case()), ids=str)
def test_a_suite_moves_to_the_harness(template: Path, tmp_path: Path, case: Case) -> None:
    answers = answers_of(case)
    project = bring_harness(template, case.application, tmp_path / case.application, **answers)
    path = "app/tests/harness" if case.application == "sqlmodel_app" else "tests/harness"
    for arguments in ((), (f"{path}/contract",)):
        output = project.run("uv", "run", "pytest", "-q", *arguments)
        assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    assert case.driver in project.run("uv", "run", "pytest", "--collect-only", "-q", "-v")
    for file in (APPLICATIONS / case.application).rglob("*.py"):
        own = file.relative_to(APPLICATIONS / case.application)
        if "tests" not in own.parts:
            assert (project.path / own).read_text() == file.read_text()


OLDEST_VERSIONS: Final = "sqlalchemy==2.0.36", "pytest==8.4.0", "fastapi==0.118.0"


@pytest.mark.parametrize(
    ("application", "runner"),
    [("module_engine", "pytest-asyncio==0.26.0"), ("lifespan_state", "anyio==4.12.0")],
)
def test_the_oldest_versions_will_do(
    template: Path, tmp_path: Path, application: str, runner: str
) -> None:
    case = Case(application, "asyncpg", "reset", STYLES[application].loop_scopes[0])
    project = bring_harness(template, application, tmp_path / "project", **answers_of(case))
    project.run(UV, "pip", "install", "--python", ".venv", *OLDEST_VERSIONS, runner)
    project.run(UV, "run", "--no-sync", "pytest")
    project.run(UV, "run", "--no-sync", "pytest", "tests/harness/contract")


def test_what_is_missing_is_said_in_a_line(template: Path, tmp_path: Path) -> None:
    case = Case("module_engine", "aiosqlite", "reset", "session")
    project = bring_harness(template, case.application, tmp_path / "project", **answers_of(case))
    pyproject = project.path / "pyproject.toml"
    complete = pyproject.read_text()
    run = "uv", "run", "pytest", "-q"

    pyproject.write_text(re.sub(r"addopts = .*\n", "", complete))
    output = project.run(*run, "tests/harness/contract", exit_code=4)
    assert f"The test harness is not loaded: {pyproject} needs addopts" in output

    setting = "asyncio_default_test_loop_scope"
    pyproject.write_text(re.sub(f"{setting} = .*\n", "", complete))
    output = project.run(*run, exit_code=4)
    assert f"ERROR: the setting {setting} must say session, the scope of event loops" in output

    pyproject.write_text(complete)
    project.run(*run, "-W", "error:No path_separator found:DeprecationWarning")
    output = project.run(*run, "-p", "no:asyncio", exit_code=4)
    assert "ERROR: pytest-asyncio is not loaded, which the harness was made for." in output

    mark = "import pytest\n\npytestmark = pytest.mark.asyncio(loop_scope='module')\n"
    (project.path / "tests/test_mark.py").write_text(f"{mark}\nasync def test(): pass\n")
    output = project.run(*run, exit_code=4)
    assert "ERROR: the mark of tests/test_mark.py::test must say session" in output
    (project.path / "tests/test_mark.py").unlink()

    right: dict[str, Any] = {
        "app": "app.main:app",
        "engine": "app.db:engine",
        "metadata": "app.models:Base.metadata",
        "alembic_ini": "alembic.ini",
    }
    for question, wrong, reason in (
        ("app", "app.mian:app", "No module named 'app.mian'. "),
        ("app", "ap.main:app", "No module named 'ap'; is its folder in `pythonpath`?"),
        ("app", "app.main:create_app()", "module 'app.main' has no attribute 'create_app'"),
        ("engine", "app.db:engin", "module 'app.db' has no attribute 'engin'; it has engine"),
        (
            "engine",
            "app.main:app.openapi_schema",
            "it is None, not of the class AsyncEngine (leave",
        ),
        ("engine", "app.db:get_session", "it is <function get_session at "),
        ("metadata", "app.models:Base", "it is <class 'app.models.Base'>, not of the class Meta"),
        ("alembic_ini", "alembics.ini", f"no {project.path}/alembics.ini."),
    ):
        answers: dict[str, Any] = answers_of(case) | right | {question: wrong}
        render_harness(template, project.path, overwrite=True, **answers)
        output = project.run(*run, exit_code=4)
        assert f"The answer {question}={wrong} does not fit: {reason}" in output
        assert ("did you mean app.db:get_session()?" in output) == ("get_session" in wrong)
        assert "Traceback" not in output

    render_harness(template, project.path, overwrite=True, **answers_of(case) | right)
    models = project.path / "app/models.py"
    owner.append(models, "\nassert 0, 'a setting is missing'\n")
    output = project.run(*run, "tests/harness/contract", exit_code=4)
    assert f"cannot be imported, at {models}:" in output
    assert output.count("a setting is missing") == 1


@pytest.mark.parametrize("application", ["module_engine", "manager_class"])
def test_no_other_database_is_used(template: Path, tmp_path: Path, application: str) -> None:
    case = Case(application, "aiosqlite", "reset", STYLES[application].loop_scopes[0])
    answers = answers_of(case) | {"database_env": "OTHER_URL"}
    project = bring_harness(template, application, tmp_path / "project", **answers)
    with pytest.raises(AssertionError) as failure:
        project.run("uv", "run", "pytest", "-q", DATABASE_URL="sqlite+aiosqlite:///mine.db")
    assert re.search(
        r"(The application|migrations/env.py) connects to .* address from", str(failure.value)
    )
    assert not (project.path / "mine.db").exists()


@pytest.mark.parametrize("application", ["container", "manager_class"])
def test_no_other_server_is_used(template: Path, tmp_path: Path, application: str) -> None:
    """The application is told the server, but not its port."""
    case = Case(application, "asyncpg", "reset", STYLES[application].loop_scopes[0])
    environment = PARTS if application == "container" else PLAIN_URL
    answers = answers_of(case) | {"database_env": environment.replace("{port}", "1")}
    project = bring_harness(template, application, tmp_path / "project", **answers)
    with pytest.raises(AssertionError, match=r"connects to .* Let it read (its|the) address from"):
        project.run(UV, "run", "pytest", "-q", "--no-header", "--tb=line")


def test_an_update_is_a_fresh_render(tmp_path: Path) -> None:
    template = copy_template(tmp_path / "template")
    commit(template, tag="v1.0.0")
    case = Case("module_engine", "asyncpg", "reset", "session")
    for folder, isolation in (("updated", "reset"), ("fresh", "clone")):
        shutil.copytree(APPLICATIONS / case.application, tmp_path / folder)
        render_harness(
            template,
            tmp_path / folder,
            **answers_of(case) | {"isolation": isolation},
            project_name="a",
        )
        commit(tmp_path / folder)
    copier.run_update(
        tmp_path / "updated",
        data={"isolation": "clone"},
        answers_file=ANSWERS_FILE,
        vcs_ref=copier.VcsRef.CURRENT,
        defaults=True,
        overwrite=True,
        quiet=True,
    )
    updated, fresh = (
        GeneratedProject(tmp_path / folder).files() for folder in ("updated", "fresh")
    )
    assert updated == fresh


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"harness_path": "tests"}, "harness_path=tests: a new folder; tests has files already"),
        ({"database_env": "DB_HOST DB_NAME"}, "say which part each has, like DB_HOST={host}"),
        ({"database_env": "URL=mysql://{host}/{name}"}, "may have any port: {host}:{port}"),
    ],
)
def test_answers_that_would_do_harm_are_refused(
    template: Path, tmp_path: Path, answers: dict[str, Any], message: str
) -> None:
    shutil.copytree(APPLICATIONS / "module_engine", tmp_path / "project")
    before = GeneratedProject(tmp_path / "project").files()
    with pytest.raises(copier.errors.UserMessageError, match=message):
        render_harness(template, tmp_path / "project", **answers)
    assert GeneratedProject(tmp_path / "project").files() == before


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "backend/pyproject.toml", "src/shop/__init__.py"]
)
def test_a_project_needs_a_new_folder(template: Path, tmp_path: Path, file: str) -> None:
    """Whoever has an application and follows the first command of the README learns of the other.

    Otherwise, what there is in both would be asked for file by file, when half is written.
    """
    path = tmp_path / "project" / file
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n")
    with pytest.raises(copier.errors.UserMessageError) as refused:
        copier.run_copy(str(template), tmp_path / "project", defaults=True, quiet=True)
    assert f"scope=project: {file} is there; take --data scope=harness, or a new folder" in str(
        refused.value
    )
    assert GeneratedProject(tmp_path / "project").files() == {file: "# mine\n"}
    copier.run_copy(str(template), tmp_path / "project", defaults=True, quiet=True, overwrite=True)
    assert (tmp_path / "project/migrations/env.py").exists()


def test_the_scope_is_chosen_once(generate: Generate, template: Path, tmp_path: Path) -> None:
    project = generate()
    with pytest.raises(
        copier.errors.UserMessageError, match="scope=harness: tests/harness has been"
    ):
        render_harness(template, project.path)
    render_harness(template, tmp_path / "other")
    with pytest.raises(
        copier.errors.UserMessageError, match="scope=project: tests/harness has been"
    ):
        generate("other")


@pytest.mark.parametrize(
    ("driver", "isolation"),
    [("psycopg", "savepoint"), ("asyncmy", "reset"), ("aiosqlite", "clone")],
)
def test_beside_a_generated_application_it_is_the_same(
    generate_installed: Generate, template: Path, driver: str, isolation: str
) -> None:
    project = generate_installed(driver=driver, isolation=isolation)
    if driver == "asyncmy":
        server = {"TEST_DATABASE_URL": SERVERS["mysql"]}
        project = replace(project, variables=project.variables | server)
    before = project.run("pytest", "-v")
    shutil.rmtree(project.path / "tests/harness")
    paths: dict[str, Any] = {
        "app": "my_app.main:app",
        "engine": "my_app.database:engine",
        "metadata": "my_app.models:Base.metadata",
    }
    render_harness(template, project.path, driver=driver, isolation=isolation, **paths)
    after = project.run("pytest", "-v")
    own = re.compile(r"^(tests/test_\S+ PASSED)", re.MULTILINE)
    assert sorted(own.findall(after)) == sorted(own.findall(before)) != []
    project.run("pytest", "tests/harness/contract")
    project.check()


@pytest.mark.parametrize("application", STYLES)
def test_what_is_rendered_is_clean(template: Path, tmp_path: Path, application: str) -> None:
    for case in every_case():
        if (
            case.application == application
            and case.loop_scope == STYLES[application].loop_scopes[0]
        ):
            folder = tmp_path / str(case)
            render_harness(template, folder, **answers_of(case))
            for command in (("check",), ("format", "--check")):
                GeneratedProject(folder).run(sys.executable, "-m", "ruff", *command, "--no-cache")
