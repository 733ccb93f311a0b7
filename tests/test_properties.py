"""The sandbox behaves like the database: what is random is played in both."""

import os
import secrets
import shutil
from pathlib import Path

import pytest

from . import statements
from .combinations import BACKENDS
from .conftest import Generate
from .generated import GeneratedProject, write_migration

pytestmark = pytest.mark.parametrize("driver", BACKENDS)

EXAMPLES = int(os.environ.get("EXAMPLES", 100))

PLAY = """
import random

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.harness.errors import CommitFirstError
from tests.harness.contract.example_app import Note

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


async def test_interleavings(harness_watch, harness_sandbox, harness_real_commits, engine):
    watch, sandbox, real_commits = harness_watch, harness_sandbox, harness_real_commits
    generator = random.Random(SEED)
    compared = 0
    for _ in range(EXAMPLES):
        script = [
            (generator.randrange(3), generator.choice(STEPS), generator.choice("ab"))
            for _ in range(15)
        ]
        async with watch.watch_test():
            in_sandbox = await play(script, engine)
            await engine.dispose()
        await sandbox.roll_back()
        await sandbox.close()
        real_commits.has_traces = True  # by the sandbox
        real_commits.begin()
        script = [step for step, _ in in_sandbox[:-1]]
        watch.connect_shared = None
        async with watch.watch_test():
            in_database = await play(script, engine)
            await engine.dispose()
        watch.connect_shared = sandbox.connect
        real_commits.undo()
        assert in_sandbox == in_database
        compared += len(script)
    print(f"{compared} steps agree")
"""


STATEMENTS = """
import random

import pytest
from sqlalchemy import String, bindparam, column, insert, select, table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tests.harness.errors import CommitFirstError, TransactionControlError
from tests.statements import MANY, STATEMENTS, write_script

# Drivers for MariaDB would make one statement of VALUES.
INSERT = insert(table("things", column("text"))).from_select(
    ["text"], select(bindparam("text", type_=String))
)


async def play(script, engine, refusals):
    '''Return the steps that were taken and not refused, and what each has shown.'''
    connections = [await engine.connect() for _ in range(2)]
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    connections.append(await autocommit.connect())
    played = []
    for number, step in script:
        try:
            shown = await take(connections[number], step)
        except refusals:
            continue
        played.append(((number, step), shown))
        if step == "commit" and shown:  # it has failed, and sessions do the same
            await connections[number].rollback()
            await connections[number].close()
            connections[number] = await engine.connect()
    for connection in connections:
        await connection.close()
    return played


async def take(connection, step):
    try:
        if step in ("commit", "rollback"):
            return await getattr(connection, step)()
        if step.startswith(MANY):
            rows = step.removeprefix(MANY).split()
            await connection.execute(INSERT, [{"text": row.strip("-") or None} for row in rows])
            return None
        result = await connection.exec_driver_sql(step)
        return repr(result.all()) if result.returns_rows else result.rowcount
    except DBAPIError as error:
        original = error.orig
        code = getattr(original, "sqlstate", None) or (getattr(original, "args", None) or [""])[0]
        return f"{type(original).__name__} {code}"
    except SQLAlchemyError as error:
        return type(error).__name__


async def read(engine, statements):
    async with engine.connect() as connection:
        return [(query, await take(connection, query)) for query in statements.contents]


@pytest.fixture(autouse=True)
async def harness_isolation():
    '''The test opens the sandbox by itself.'''


async def test_statements(harness_watch, harness_sandbox, harness_real_commits, engine):
    watch, sandbox, statements = harness_watch, harness_sandbox, STATEMENTS[BACKEND]
    real_commits = harness_real_commits
    generator = random.Random(SEED)
    compared = 0
    for example in range(EXAMPLES):
        script = write_script(generator, statements)
        async with watch.watch_test():
            refusals = CommitFirstError, TransactionControlError
            in_sandbox = await play(script, engine, refusals)
            script = [step for step, _ in in_sandbox]
            in_sandbox += await read(engine, statements)
            await engine.dispose()
        await sandbox.roll_back()
        await sandbox.close()  # or its session would know other ids
        real_commits.has_traces = True  # by the sandbox
        real_commits.begin()
        watch.connect_shared = None
        async with watch.watch_test():
            in_database = await play(script, engine, ())
            in_database += await read(engine, statements)
            await engine.dispose()
        watch.connect_shared = sandbox.connect
        real_commits.undo()
        for shown, real in zip(in_sandbox, in_database, strict=True):
            assert shown == real, f"example {example}: {script}"
        compared += len(script)
    print(f"{compared} steps agree")
"""


def test_interleavings(generate_installed: Generate, driver: str) -> None:
    play(generate_installed(driver=driver), "test_interleavings", PLAY)


def test_statements(generate_installed: Generate, driver: str) -> None:
    project, backend = generate_installed(driver=driver), BACKENDS[driver]
    shutil.copy(Path(statements.__file__), project.path / "tests/statements.py")
    write_migration(project, "\n\n".join(statements.STATEMENTS[backend].schema))
    play(project, "test_statements", f"BACKEND = {backend!r}\n{STATEMENTS}")


def play(project: GeneratedProject, name: str, test: str) -> None:
    """Run `test` in `project`, with a seed that is shown where it fails."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    print(f"SEED={seed}")  # noqa: T201
    constants = f"SEED, EXAMPLES = {seed}, {EXAMPLES}\n"
    (project.path / f"tests/{name}.py").write_text(constants + test)
    assert " steps agree" in project.run("pytest", "-s", f"tests/{name}.py")
