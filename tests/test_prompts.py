"""The dialogue, as somebody at a terminal has it."""

from collections.abc import Iterator
from pathlib import Path

import copier
import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from .combinations import ASKED, DIALOGUE, EVERYTHING

ENTER = "\r"
UP, DOWN = "\x1b[A", "\x1b[B"
YES, NO = "y", "n"
ERASE = "\x15"  # Ctrl-U
INTERRUPT = "\x03"

COLUMNS = 80

NAMELESS = len(DIALOGUE) - 1
"""How many questions there are for who gives no name: the e-mail address is not asked for."""


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """Keys to press; all of them before copier asks."""
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def after(question: str) -> list[str]:
    """Return the questions that are asked after `question`."""
    return EVERYTHING[EVERYTHING.index(question) + 1 :]


def answers(project: Path) -> dict[str, str]:
    """Read what copier has recorded."""
    recorded: dict[str, str] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return recorded


def test_enter_alone_gives_the_defaults(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    keyboard.send_text(ENTER * NAMELESS + INTERRUPT)  # which nothing reads
    copier.run_copy(str(template), tmp_path / "asked", quiet=True)
    copier.run_copy(str(template), tmp_path / "defaults", quiet=True, defaults=True)
    assert answers(tmp_path / "asked") == answers(tmp_path / "defaults")


def test_every_question_is_asked_in_the_order_of_decisions(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    keyboard.send_text(ENTER)
    keyboard.send_text(f"{ERASE}Book Shop{ENTER}")
    keyboard.send_text(f"{ERASE}shop{ENTER}")
    keyboard.send_text(f'Sells "books" \\ é{ENTER}')
    keyboard.send_text(f"Ann{ENTER}")
    keyboard.send_text(f"ann@example.com{ENTER}")
    keyboard.send_text(DOWN * 2 + ENTER)
    keyboard.send_text(NO)
    keyboard.send_text(DOWN * 3 + ENTER)
    keyboard.send_text(DOWN * 3 + ENTER)
    keyboard.send_text(DOWN + ENTER)
    keyboard.send_text(YES)
    keyboard.send_text(DOWN + ENTER)
    keyboard.send_text(DOWN + ENTER)
    keyboard.send_text(ENTER * len(after("python_min")))
    copier.run_copy(str(template), tmp_path / "shop", quiet=True)
    given = answers(tmp_path / "shop")
    assert given == given | {
        "project_name": "Book Shop",
        "package_name": "shop",
        "description": 'Sells "books" \\ é',
        "user_name": "Ann",
        "user_email": "ann@example.com",
        "python_min": "3.12",
        "driver": "aiosqlite",
        "isolation": "create_drop",
        "loop_scope": "function",
        "runner": "anyio",
        "test_client": True,
        "schema": "models",
    }


def test_the_rest_is_as_recommended_and_what_is_given_counts(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    keyboard.send_text(ENTER * len(DIALOGUE))
    given = {"isolation": "reset", "python_min": "3.13"}
    copier.run_copy(str(template), tmp_path / "asked", data=given, quiet=True)
    copier.run_copy(str(template), tmp_path / "data", data=given, quiet=True, defaults=True)
    assert answers(tmp_path / "asked") == answers(tmp_path / "data")
    assert answers(tmp_path / "data") == answers(tmp_path / "data") | given


def test_what_is_not_as_recommended_may_be_so_by_default(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    """Somebody who looks at each question, and changes none."""
    keyboard.send_text(ENTER * (DIALOGUE.index("recommended") - 1) + NO)
    keyboard.send_text(ENTER * len(after("recommended")) + INTERRUPT)
    copier.run_copy(str(template), tmp_path / "asked", quiet=True)
    copier.run_copy(str(template), tmp_path / "defaults", quiet=True, defaults=True)
    assert answers(tmp_path / "asked") == answers(tmp_path / "defaults")


def test_the_titles_of_prompts_fit_a_terminal(template: Path) -> None:
    questions = yaml.safe_load((template / "copier.yml").read_text()).values()
    asked = [each for each in questions if isinstance(each, dict) and "help" in each]
    titles = [each["help"].splitlines()[0] for each in asked]
    assert titles
    assert [title for title in titles if len("?? ") + len(title) > COLUMNS] == []


def test_an_invalid_name_cannot_be_entered(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    keyboard.send_text(ENTER * 2)
    keyboard.send_text(f"{ERASE}class{ENTER}")  # refused: the question stays
    keyboard.send_text(f"{ERASE}lesson{ENTER}")
    keyboard.send_text(ENTER * len(DIALOGUE))
    copier.run_copy(str(template), tmp_path / "project", quiet=True)
    assert answers(tmp_path / "project")["package_name"] == "lesson"


def test_beside_an_application_a_project_cannot_be_entered(
    keyboard: PipeInput, template: Path, tmp_path: Path
) -> None:
    (tmp_path / "project/app").mkdir(parents=True)
    (tmp_path / "project/pyproject.toml").touch()
    keyboard.send_text(UP + ENTER)  # it cannot be reached
    keyboard.send_text(ENTER * len(ASKED) + INTERRUPT)  # which nothing reads
    copier.run_copy(str(template), tmp_path / "project", quiet=True)
    assert answers(tmp_path / "project")["scope"] == "harness"


def test_ctrl_c_leaves_nothing_behind(keyboard: PipeInput, template: Path, tmp_path: Path) -> None:
    keyboard.send_text(ENTER * 3 + INTERRUPT)
    with pytest.raises(copier.errors.CopierAnswersInterrupt):
        copier.run_copy(str(template), tmp_path / "project", quiet=True)
    assert not (tmp_path / "project").exists()
