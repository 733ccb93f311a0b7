"""The project is what the template has made of its answers, and no update is left half done."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import answers, application
from .application import ROOT

FOLDERS = ("src", "tests", "migrations")


def files() -> Iterator[Path]:
    """Find the files that updates write to."""
    yield from ROOT.iterdir()
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*")


def test_no_conflict_is_left() -> None:
    marks = re.compile(rb"^(<<<<<<< before|>>>>>>> after) updating", re.MULTILINE)
    left = []
    for file in files():
        if file.suffix == ".rej":
            left.append(str(file.relative_to(ROOT)))
        elif file.is_file() and (mark := marks.search(content := file.read_bytes())):
            line = content.count(b"\n", 0, mark.start()) + 1
            left.append(f"{file.relative_to(ROOT)}:{line}")
    if left:
        pytest.fail(
            f"An update has left conflicts, in {', '.join(left)}. Choose what is to stay, and"
            " remove the rest.",
            pytrace=False,
        )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("package_name", application.PACKAGE),
        ("driver", answers.DRIVER.partition("+")[2]),
        ("isolation", answers.ISOLATION),
        ("loop_scope", answers.LOOP_SCOPE),
        ("runner", answers.RUNNER),
        ("schema", answers.SCHEMA),
    ],
)
def test_the_answers_are_those_of_the_harness(question: str, answer: str) -> None:
    recorded = (ROOT / answers.RECORD).read_text()
    if re.findall(rf"^{question}: *['\"]?([^\s'\"]*)", recorded, re.MULTILINE) != [answer]:
        pytest.fail(
            f"{answers.RECORD} does not say {question}: {answer}, which this harness was made for."
            " Undo what was edited there, and change the answer with"
            f" `copier update --defaults --ask {question}`.",
            pytrace=False,
        )
