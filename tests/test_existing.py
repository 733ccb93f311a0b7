"""The harness beside applications that exist: no line of theirs is changed, their suites pass."""

import os
import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest

from .existing import APPLICATIONS, bring_harness

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
        fits_savepoint=False,  # TestClient has a loop of its own
    ),
    "sqlmodel_app": Style(
        {"harness_path": "app/tests/harness"},
        database_env={"asyncpg": PLAIN_URL},
        fits_savepoint=False,
    ),
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


def sample() -> list[Case]:
    """Return cases in which each two answers meet, but for an application's isolation and loops."""
    left = every_case()
    cases, met = [], set[object]()
    while left:
        best = max(left, key=lambda case: len(pairs(case) - met))
        if pairs(best) <= met:
            break
        cases.append(best)
        met |= pairs(best)
    return cases


def pairs(case: Case) -> set[object]:
    """Return each two answers of `case` that are to meet."""
    return {(case.application, case.driver), *combinations(case[1:], 2)}


CASES: Final = every_case() if os.environ.get("EVERY_CASE") else sample()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_suite_moves_to_the_harness(template: Path, tmp_path: Path, case: Case) -> None:
    style = STYLES[case.application]
    answers = style.answers | case._asdict()
    del answers["application"]
    if case.driver in style.database_env:
        answers["database_env"] = style.database_env[case.driver]
    project = bring_harness(template, case.application, tmp_path / case.application, **answers)
    path = answers.get("harness_path", "tests/harness")
    for arguments in ((), (f"{path}/contract",)):
        output = project.run("uv", "run", "pytest", "-q", *arguments)
        assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    assert case.driver in project.run("uv", "run", "pytest", "--collect-only", "-q", "-v")
    for file in (APPLICATIONS / case.application).rglob("*.py"):
        own = file.relative_to(APPLICATIONS / case.application)
        if "tests" not in own.parts:
            assert (project.path / own).read_text() == file.read_text()
