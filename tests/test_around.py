"""What stands around the application of a project: an image, CI, a license."""

import hashlib
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email.parser import Parser
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import owner
from .combinations import REST, Combination, asked, every_pair
from .conftest import Generate
from .generated import TEMPLATE, GeneratedProject, commit, git, render
from .pythons import SUPPORTED, UV
from .test_rendering import check_files

Projects = list[tuple[dict[str, Any], GeneratedProject]]

APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""The SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt."""


def test_each_answer_meets_each_other_one(template: Path, quick_folder: Path) -> None:
    projects = [
        (answers, render(quick_folder / f"around-{number}", template, **asked(answers)))
        for number, answers in enumerate(every_pair(["driver", *REST]))
    ]
    for answers, project in projects:
        combination = Combination(**{name: answers[name] for name in Combination._fields})
        check_files(project.files(), combination)
    check_images(projects)
    check_workflows(projects)
    check_pythons(projects)


def check_schema(schema: str, files: list[Path]) -> None:
    """Check YAML files against a schema that check-jsonschema brings.

    Raises:
        AssertionError: one has no such form.
    """
    assert files
    command = ("check-jsonschema", "--quiet", "--builtin-schema", f"vendor.{schema}")
    GeneratedProject(files[0].parent).run(*command, *map(str, files))


def check_images(projects: Projects) -> None:
    """Check that images and services are well formed, and have the address of the example."""
    with_image = [(answers, project) for answers, project in projects if answers["docker"]]
    check_schema("compose-spec", [project.path / "compose.yaml" for _, project in with_image])
    for answers, project in with_image:
        project.run("hadolint", "Dockerfile")
        services = yaml.safe_load((project.path / "compose.yaml").read_text())["services"]
        assert ("database" in services) == (answers["driver"] != "aiosqlite")
        example = (project.path / ".env.example").read_text()
        (address,) = re.findall("^DATABASE_URL=(.*)", example, re.MULTILINE)
        inside = services["app"]["environment"]["DATABASE_URL"]
        assert services["migrations"]["environment"]["DATABASE_URL"] == inside
        assert address.partition("://")[0] == inside.partition("://")[0]
        assert address.rpartition("/")[2] == inside.rpartition("/")[2]


def check_workflows(projects: Projects) -> None:
    """Check that they are well formed and safe; hashes of actions are those of this repository."""
    by_ci: dict[str, list[Path]] = {"github": [], "gitlab": [], "none": []}
    for answers, project in projects:
        by_ci[answers["ci"]].append(project.path)
    github, gitlab = by_ci["github"], by_ci["gitlab"]
    workflows = [folder / ".github/workflows/ci.yml" for folder in github]
    check_schema("github-workflows", workflows)
    check_schema("dependabot", [folder / ".github/dependabot.yml" for folder in github])
    check_schema("gitlab-ci", [folder / ".gitlab-ci.yml" for folder in gitlab])
    check_schema("renovate", [folder / "renovate.json" for folder in gitlab])
    zizmor = ("zizmor", "--quiet", "--offline")
    GeneratedProject(TEMPLATE).run(*zizmor, *map(str, github))
    own = (TEMPLATE / ".github/workflows/ci.yml").read_text()
    for workflow in workflows:
        pins = re.findall("uses: (.*)", workflow.read_text())
        assert pins
        assert all(f"uses: {pin}\n" in own for pin in pins)


def check_pythons(projects: Projects) -> None:
    """Check that workflows test each Python that is supported, and no other one."""
    for answers, project in projects:
        supported = [python for python in SUPPORTED if python >= answers["python_min"]]
        if answers["ci"] == "github":
            workflow = yaml.safe_load((project.path / ".github/workflows/ci.yml").read_text())
            assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == supported
        if answers["ci"] == "gitlab":
            workflow = yaml.safe_load((project.path / ".gitlab-ci.yml").read_text())
            (matrix,) = workflow["test"]["parallel"]["matrix"]
            assert matrix["PYTHON"] == supported
            assert len(matrix.get("SHARD", ["1"])) == int(answers["shards"])


def test_what_is_run_by_ci_passes(generate: Generate) -> None:
    """In a clone, by an environment of its own. GitLab does the same."""
    project = generate("github", runner="anyio")
    project.run(UV, "lock", "--quiet")
    for number in range(2):
        owner.append(project.path / "uv.lock", "\n" * number)  # a dependency changes
        commit(project.path)
    workflow = yaml.safe_load((project.path / ".github/workflows/ci.yml").read_text())
    lint, test = (
        [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]
        for job in ("lint", "test")
    )
    environment = workflow["env"] | {"BEFORE": "HEAD^"}
    outputs = [project.run("bash", "-c", command, **environment) for command in lint + test]
    assert "tests/harness/contract/test_contract.py" in outputs[-1]
    git(project.path, "commit", "--quiet", "--allow-empty", "--message", "Nothing changes")
    assert project.run("bash", "-c", test[-1], **environment) == ""
    (project.path / "uv.lock").unlink()
    project.run("bash", "-c", lint[0], exit_code=1, **environment)

    other = generate("gitlab", ci="gitlab", runner="anyio")
    pipeline = yaml.safe_load((other.path / ".gitlab-ci.yml").read_text())
    assert pipeline["lint"]["script"] == lint
    assert pipeline["test"]["script"] == [test[0].replace("-n 2", "-n 2 --junitxml=report.xml")]
    assert test[1].endswith(f" || {pipeline['contract']['script'][0]}")


def test_runners_share_the_tests(generate_installed: Generate) -> None:
    """Two of them, which share a server here: each test is run by one."""
    project = generate_installed(shards="2", ci="gitlab")
    (command,) = yaml.safe_load((project.path / ".gitlab-ci.yml").read_text())["test"]["script"]
    assert '"pytest-split' in (project.path / "pyproject.toml").read_text()
    project.run(UV, "pip", "install", "--quiet", "--no-deps", "--target", "plugins", "pytest-split")
    project.variables["PYTHONPATH"] = f"src{os.pathsep}plugins"
    everything = passed(project.run("pytest", "--verbose"))
    run = partial(project.run, *command.removeprefix("uv run ").split()[:-1])
    with ThreadPoolExecutor() as runners:
        outputs = runners.map(lambda number: run(number, "--verbose"), "12")
        first, second = (passed(output) for output in outputs)
    assert first
    assert second
    assert sorted(first + second) == sorted(everything)


def passed(output: str) -> list[str]:
    """Return the names of tests that have passed, which xdist prints after the word."""
    return re.findall(r"^tests/\S+(?= PASSED)|(?<= PASSED )tests/\S+", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("version", "said"), [("any", ""), ("14", " (PostgreSQL 14 in production)")]
)
def test_the_version_of_production_is_said(
    generate_installed: Generate, version: str, said: str
) -> None:
    project = generate_installed(postgresql_version=version)
    header = project.run("pytest", "tests/test_health.py")
    assert re.search(rf"; PostgreSQL [^ ,]+{re.escape(said)}, database ", header)


STRICTER = """
warn_unreachable = true
disallow_any_expr = true
disallow_any_decorated = true
disallow_any_explicit = true
enable_error_code = ["explicit-override", "possibly-undefined", "redundant-expr", "truthy-bool"]
"""


def test_stricter_rules_of_the_owner_s_do_not_judge_the_harness(
    generate_installed: Generate,
) -> None:
    project = generate_installed()
    pyproject = project.path / "pyproject.toml"
    owner.replace(pyproject, "[tool.mypy]\n", f"[tool.mypy]{STRICTER}")
    found = project.mypy(exit_code=1)
    assert "tests/test_items.py:" in found
    assert "tests/harness/" not in found


def test_the_hooks_pass_and_fail(generate: Generate) -> None:
    project = generate()
    commit(project.path)
    hooks = (UV, "tool", "run", "--quiet", "prek", "run", "--all-files")
    assert project.run(*hooks).count("Passed") == 3
    (project.path / "src/my_app/wrong.py").write_text("x: str=1\n")
    git(project.path, "add", "--all")
    output = project.run(*hooks, exit_code=1)
    assert re.findall(r"^(.*?)\.*(Passed|Failed)$", output, re.MULTILINE) == [
        ("ruff check", "Passed"),
        ("ruff format", "Failed"),
        ("mypy", "Failed"),
    ]


def test_forges_fold_what_is_not_the_owner_s(generate: Generate) -> None:
    project = generate()
    commit(project.path)
    files = project.files()
    command = ("check-attr", "linguist-generated", "eol", "--", *files)
    attributes = git(project.path, *command).splitlines()
    folded = {line.partition(":")[0] for line in attributes if "linguist-generated: set" in line}
    assert folded == {path for path in files if path.startswith("tests/harness/")}
    assert sum(line.endswith("eol: lf") for line in attributes) == len(files)


def words(text: str) -> list[str]:
    """Return what a lawyer reads: neither where lines end, nor who holds the copyright."""
    return [word for line in text.splitlines() if "Copyright" not in line for word in line.split()]


def test_the_licenses_are_those_that_they_say(generate: Generate) -> None:
    mit, apache, bsd = (
        generate(license, license=license).files()["LICENSE"]
        for license in ("MIT", "Apache-2.0", "BSD-3-Clause")
    )
    assert words(mit) == words((TEMPLATE / "LICENSE").read_text())
    assert hashlib.sha256(apache.encode()).hexdigest() == APACHE
    model = distribution("jinja2").read_text("licenses/LICENSE.txt")
    assert model is not None
    assert words(bsd) == ["BSD", "3-Clause", "License", *words(model)]


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ({"user_name": "Ann"}, "Copyright (c) 2019 Ann"),
        ({"project_name": "Shop"}, "Copyright (c) 2019 The Shop authors"),
    ],
)
def test_who_holds_the_copyright(generate: Generate, answers: dict[str, str], line: str) -> None:
    for license in ("MIT", "BSD-3-Clause"):
        files = generate(license, license=license, copyright_year="2019", **answers).files()
        assert line in files["LICENSE"].splitlines()


def test_the_package_says_its_license(generate: Generate) -> None:
    project = generate(license="MIT")
    project.run(UV, "build", "--quiet", "--wheel")
    (wheel,) = (project.path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (path,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(files.read(path).decode())
        assert metadata["License-Expression"] == "MIT"
        assert metadata["License-File"] == "LICENSE"
        text = files.read(path.replace("METADATA", "licenses/LICENSE"))
    assert text == (project.path / "LICENSE").read_bytes()
