"""The sandbox behaves like the database: random interleavings of sessions, played in both."""

import os
import secrets

import pytest

from .combinations import BACKENDS
from .conftest import Generate

INTERLEAVINGS = 500

PLAY = """
import random

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.harness.errors import CommitFirstError
from tests.harness.notes import Note

STEPS = (
    *("read", "insert", "update", "delete") * 3, *("commit",) * 3, "rollback", "close",
    *("nest", "release", "undo"), "fail",
)


class Player:
    def __init__(self, engine):
        self.session = AsyncSession(engine, expire_on_commit=False)
        self.nested = []
        self.has_failed = False

    async def play(self, step, name):
        if self.has_failed and self.nested and step in ("nest", "release", "commit"):
            step = "undo"  # SQLAlchemy's session does not survive anything else
        if step in ("undo", "rollback", "close"):
            self.has_failed = False
        if step in ("commit", "rollback", "close"):
            self.nested.clear()
            return await getattr(self.session, step)()
        if step in ("release", "undo"):
            if self.nested:
                nested = self.nested.pop()
                await (nested.commit() if step == "release" else nested.rollback())
            return None
        if step == "nest":
            self.nested.append(await self.session.begin_nested())
            return None
        result = await self.session.execute({
            "read": select(Note.text, Note.likes).order_by(Note.text),
            "insert": insert(Note).values(text=name),
            "update": update(Note).where(Note.text == name).values(likes=Note.likes + 1),
            "delete": delete(Note).where(Note.text == name),
            "fail": text("SELECT * FROM no_such_table"),
        }[step])
        return result.all() if step == "read" else result.rowcount


async def play(script, engine):
    '''Return the steps that were taken, and what each has shown.'''
    players = [Player(engine) for _ in range(3)]
    played = []
    for number, step, name in script:
        try:
            shown = repr(await players[number].play(step, name))
        except CommitFirstError:
            continue  # the sandbox does not show this
        except IntegrityError:
            shown = "IntegrityError"
            players[number].has_failed = True
        except SQLAlchemyError:
            shown = "another error"
            players[number].has_failed = True
        played.append(((number, step, name), shown))
    for player in players:
        await player.session.close()
    async with engine.connect() as connection:
        rows = await connection.execute(select(Note.text, Note.likes).order_by(Note.text))
        played.append(("at the end", repr(rows.all())))
    return played


@pytest.fixture(autouse=True)
async def harness_isolation():
    '''The test opens the sandbox by itself.'''


async def test_interleavings(harness_watch, harness_sandbox, harness_get_reset, engine):
    watch, sandbox, get_reset = harness_watch, harness_sandbox, harness_get_reset
    reset = get_reset()
    generator = random.Random(SEED)
    compared = 0
    for _ in range(INTERLEAVINGS):
        script = [
            (generator.randrange(3), generator.choice(STEPS), generator.choice("ab"))
            for _ in range(15)
        ]
        async with watch.over_test(sandbox):
            in_sandbox = await play(script, engine)
            await engine.dispose()
        await sandbox.roll_back()
        script = [step for step, _ in in_sandbox[:-1]]
        async with watch.over_test():
            in_database = await play(script, engine)
            await engine.dispose()
        reset.run()
        assert in_sandbox == in_database
        compared += len(script)
    print(f"{compared} steps agree")
"""


@pytest.mark.parametrize("driver", BACKENDS)
def test_interleavings(generate_installed: Generate, driver: str) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    print(f"SEED={seed}")  # noqa: T201 - shown where the test fails
    project = generate_installed(driver=driver)
    constants = f"SEED, INTERLEAVINGS = {seed}, {INTERLEAVINGS}\n"
    (project.path / "tests/test_interleavings.py").write_text(constants + PLAY)
    output = project.run("pytest", "-s", "tests/test_interleavings.py")
    assert " steps agree" in output
