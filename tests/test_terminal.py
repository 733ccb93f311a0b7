"""The dialogue on a real terminal of 80 columns and 24 lines."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest
import yaml

from .combinations import ASKED, DIALOGUE, REST
from .existing import ANSWERS_FILE, APPLICATIONS
from .generated import commit, copy_template, git, render
from .test_prompts import DOWN, ENTER, ERASE, INTERRUPT, NO, YES, after, answers

COPIER = (sys.executable, "-m", "copier")
FIRST_LINES = {"recommended": "The rest as recommended?"}


class Screen(pyte.Screen):
    """A screen that answers when it is asked where its cursor is."""

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self.child = child
        super().__init__(80, 24)

    def write_process_input(self, data: str) -> None:
        self.child.send(data)


class Terminal:
    """Somebody who makes a project, or updates it, at a terminal."""

    def __init__(self, project: Path, *arguments: str, **variables: str) -> None:
        environment = os.environ | {"TERM": "xterm"} | variables
        command = [*COPIER, *arguments, str(project)]
        self.child: pexpect.spawn[str] = pexpect.spawn(
            command[0], command[1:], env=environment, dimensions=(24, 80), encoding="utf-8"
        )
        self.screen = Screen(self.child)
        self.stream = pyte.Stream(self.screen)
        self.project = project

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self) -> bool:
        """Show what copier has printed since; return whether it still runs."""
        try:
            self.stream.feed(self.child.read_nonblocking(4096, timeout=0.1))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            return False
        return True

    def see(self, *texts: str) -> None:
        """Wait until all `texts` are on the screen.

        Raises:
            AssertionError: they do not appear. The message shows the screen.
        """
        deadline = time.monotonic() + 30
        while not all(text in self.text for text in texts):
            assert self.read(), f"{texts} not on the last screen\n{self.text}"
            assert time.monotonic() < deadline, f"{texts} not on the screen\n{self.text}"

    def answer(self, question: str, keys: str = "") -> None:
        """Wait for a question, and press `keys` and Enter."""
        self.see(question)
        self.child.send(keys + ENTER)

    def leave(self) -> int:
        """Wait until copier is done; return its exit code."""
        while self.read():
            pass
        self.child.close()
        return int(self.child.exitstatus or 0)

    def answers(self) -> dict[str, Any]:
        """Return what copier has recorded."""
        recorded = yaml.safe_load((self.project / ".copier-answers.yml").read_text())
        return {name: answer for name, answer in recorded.items() if name[0] != "_"}


def test_the_whole_dialogue(template: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "shop", "copy", str(template))
    terminal.see("project - a new project", "harness - the test harness alone")
    terminal.answer("What to render")
    terminal.answer("Name of the project, for people", f"{ERASE}Book Shop")
    terminal.see("Name of the package, for `import`", "book_shop")
    terminal.answer("Name of the package", f"{ERASE}class")
    terminal.see("a keyword of Python")
    terminal.child.send(f"{ERASE}shop{ENTER}")
    terminal.answer("What it is, in one line", 'Sells "books" 🚀')
    terminal.answer("Your name (may stay empty)", "Ann")
    terminal.answer("Your e-mail address", "ann")
    terminal.see("not an e-mail address")
    terminal.child.send(f"@example.com{ENTER}")
    terminal.see(
        "asyncpg - PostgreSQL, the fastest",
        "psycopg - PostgreSQL, the most complete",
        "aiosqlite - SQLite, a file and no server",
        "asyncmy - MariaDB or MySQL, in Cython",
        "aiomysql - MariaDB or MySQL, in pure Python",
    )
    terminal.answer("Database driver", DOWN * 3)
    terminal.see("The rest as recommended?", "isolation savepoint", "python_min 3.11", "Y/n")
    terminal.child.send(NO)
    terminal.see(
        "How the database is made clean again after each test",
        "savepoint: what is committed is rolled back after all, unnoticed.",
        "In doubt: savepoint; reset if locks and concurrency are what you test most.",
        "savepoint - fastest, in a sandbox",
        "MariaDB and MySQL cannot clone",
        "create_drop - slowest, new tables for each test",
    )
    terminal.answer("How the database is made clean", DOWN * 2)  # over the one that is refused
    terminal.see("In doubt: session.", "function - slowest; a loop for each test")
    terminal.answer("How many tests share an event loop", DOWN * 3)
    terminal.answer("What runs async tests", DOWN)
    terminal.see("A fixture for plain functions, too", "y/N")
    terminal.child.send(YES)
    terminal.answer("Where the tests' tables come from", DOWN)
    terminal.answer("Oldest Python that it must run on", DOWN)
    terminal.see("A Dockerfile, and a compose.yaml", "Y/n")
    terminal.child.send(NO)
    terminal.answer("Who runs lint, types and tests", DOWN)
    for question in after("ci"):
        if question != "postgresql_version":  # of a project with MariaDB
            terminal.answer(ASKED[question]["help"])
    terminal.see("Book Shop is ready", "uv run pytest")
    assert terminal.leave() == 0
    recorded = terminal.answers()
    assert recorded == recorded | {
        "project_name": "Book Shop",
        "package_name": "shop",
        "description": 'Sells "books" 🚀',
        "user_name": "Ann",
        "user_email": "ann@example.com",
        "python_min": "3.12",
        "driver": "asyncmy",
        "isolation": "create_drop",
        "loop_scope": "function",
        "runner": "anyio",
        "test_client": True,
        "schema": "models",
        "docker": False,
        "ci": "gitlab",
    }


def test_enter_alone_gives_the_defaults(template: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "asked", "copy", str(template))
    for question in DIALOGUE:
        if question != "user_email":  # of somebody without a name
            terminal.answer(FIRST_LINES.get(question, ASKED[question]["help"].splitlines()[0]))
    assert terminal.leave() == 0
    untouched = Terminal(tmp_path / "defaults", "copy", "--defaults", str(template))
    assert untouched.leave() == 0
    assert terminal.answers() == untouched.answers()


def test_beside_an_application_the_defaults_are_read_from_it(
    template: Path, tmp_path: Path
) -> None:
    project = tmp_path / "library"
    shutil.copytree(APPLICATIONS / "module_engine", project)
    before = {file: file.read_bytes() for file in project.rglob("*") if file.is_file()}
    terminal = Terminal(project, "copy", f"--answers-file={ANSWERS_FILE}", str(template))
    terminal.answer("What to render", DOWN)
    for question, default in (
        ("Name of the project", "library"),
        ("Folder for the harness", "tests/harness"),
        ("The application, as module:attribute", "app.main:app"),
        ("Its async engine", "app.db:engine"),
        ("Which models and sessions it has", "SQLAlchemy's"),
        ("Its tables, as module:attribute", "app.models:Base.metadata"),
        ("Environment variables that tell", "DATABASE_URL"),
        ("Address that the application answers to", "http://test"),
        ("Does the application need its lifespan", "Y/n"),
        ("Database driver", "asyncpg"),
        ("How the database is made clean", "reset"),
        ("How many tests share an event loop", "session"),
        ("What runs async tests", "pytest-asyncio"),
        ("A PostgreSQL of the tests' own", "Y/n"),
        ("Where the tests' tables come from", "migrations"),
        ("Alembic's configuration", "alembic.ini"),
    ):
        terminal.see(default)
        terminal.answer(question)
    terminal.see('addopts = ["-p", "harness"]', "uv run pytest tests/harness/contract")
    assert terminal.leave() == 0
    assert before == {file: file.read_bytes() for file in before}


def test_names_are_those_of_copier_s_settings(template: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults:\n  user_name: Ann\n  user_email: ann@example.com\n")
    project = tmp_path / "project"
    terminal = Terminal(project, "copy", str(template), COPIER_SETTINGS_PATH=str(settings))
    for question in ("What to render", "for people", "for `import`", "in one line"):
        terminal.answer(question)
    terminal.see("Your name (may stay empty)", "Ann")
    terminal.answer("Your name")
    terminal.see("Your e-mail address (may stay empty)", "ann@example.com")
    terminal.child.send(ENTER * len(DIALOGUE[DIALOGUE.index("user_email") :]))
    terminal.see("My App is ready")
    assert terminal.leave() == 0
    assert terminal.answers()["user_name"] == "Ann"
    assert terminal.answers()["user_email"] == "ann@example.com"


def test_an_update_asks_what_it_is_told_to(tmp_path: Path) -> None:
    template = copy_template(tmp_path / "template")
    commit(template, tag="v1.0.0")
    render(tmp_path / "project", template, driver="psycopg", runner="anyio")
    commit(tmp_path / "project")
    options = ("--vcs-ref=:current:", "--defaults", "--ask", "isolation")
    terminal = Terminal(tmp_path / "project", "update", *options)
    before = terminal.answers()
    terminal.answer("How the database is made clean", DOWN)
    terminal.see("My App is updated (psycopg, reset)", '"both modified" is a conflict')
    terminal.see("uv sync", "uv run ruff format", "A new driver needs a new DATABASE_URL in .env")
    assert terminal.leave() == 0
    assert terminal.answers() == before | {"isolation": "reset"}


def test_what_is_recommended_is_what_defaults_render(template: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "project", "copy", str(template))
    for question in ("What to render", "for people", "for `import`", "in one line", "Your name"):
        terminal.answer(question)
    terminal.answer("Database driver")
    terminal.see("The rest as recommended?", "Y/n")
    shown = dict(re.findall(r"(\w+) ([\w.-]+)", terminal.text.rpartition("recommended?")[2]))
    terminal.child.send(ENTER)
    assert terminal.leave() == 0
    recorded = terminal.answers()
    for name in REST:
        assert shown.get(name) == {True: "yes", False: "no"}.get(recorded[name], recorded[name])


def test_an_update_keeps_the_rest_as_it_is(tmp_path: Path) -> None:
    """Also what is not as recommended, by the one question and by its being opened."""
    template = copy_template(tmp_path / "template")
    commit(template, tag="v1.0.0")
    chosen = {"isolation": "reset", "loop_scope": "class", "python_min": "3.12"}
    render(tmp_path / "project", template, **chosen)
    commit(tmp_path / "project")
    before = answers(tmp_path / "project")
    for keys in (ENTER, NO + ENTER * len(REST)):
        terminal = Terminal(tmp_path / "project", "update", "--vcs-ref=:current:")
        terminal.see("What to render")
        terminal.child.send(ENTER * (len(DIALOGUE) - 2))
        terminal.see("The rest as it is?", "isolation reset, loop_scope class", "python_min 3.12")
        terminal.child.send(keys)
        terminal.see("My App is updated (asyncpg, reset)")
        assert terminal.leave() == 0
        assert answers(tmp_path / "project") == before
        assert git(tmp_path / "project", "status", "--short") == ""


@pytest.mark.parametrize("questions", [0, 1, 5])
def test_ctrl_c_leaves_nothing_behind(template: Path, tmp_path: Path, questions: int) -> None:
    terminal = Terminal(tmp_path / "project", "copy", str(template))
    asked = ("What to render", "for people", "for `import`", "in one line", "Your name", "driver")
    for question in asked[:questions]:
        terminal.answer(question)
    terminal.see(asked[questions])
    terminal.child.send(INTERRUPT)
    assert terminal.leave() == 1
    assert "Execution stopped by user" in terminal.text
    assert "Traceback" not in terminal.text
    assert not (tmp_path / "project").exists()


def test_without_a_terminal_it_says_how_to_answer(template: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [*COPIER, "copy", "--quiet", template, tmp_path / "project"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "Use `--defaults` and/or `--data`" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "project").exists()
