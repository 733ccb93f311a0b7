"""The prepared database: it has the schema and no more, and is cloned instead of made again.

It is kept between runs, and each process of a run has a clone of it. Its name says what it was
made from (inputs.py), so another one is made when that has changed.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import MetaData, create_mock_engine

from . import inputs
from .application import get_metadata
from .cloning import clone, is_complete
from .errors import HarnessError
from .lifecycle import PREFIX, Database, databases_of_runs, exit_on_failure
from .schema import create_schema, test_tables

KEPT: Final = 5
"""How many are kept: one for each branch that is worked on, say."""
HARNESS: Final = Path(__file__).parent
MIGRATIONS: Final = HARNESS.parents[1] / "migrations"
PREPARED: Final = f"{PREFIX}prepared_"
"""What begins their names; and the lock of who makes, clones or drops them."""


def make(database: Database) -> None:
    """Make `database`.

    Raises:
        pytest.exit.Exception: it cannot be made.
    """
    with exit_on_failure(database), prepared(database) as name:
        clone(database.server, name, database.name)


def renew(database: Database) -> None:
    """Make `database` anew; nobody stays connected."""
    database.server.drop(database.name)
    with prepared(database) as name:
        clone(database.server, name, database.name)


@contextmanager
def prepared(database: Database) -> Iterator[str]:
    """Yield the name of what `database` is to be a clone of; make it first, if that has to be.

    Nobody drops it meanwhile, nor afterwards while this process has a database.

    Raises:
        pytest.exit.Exception: its schema cannot be made.
    """
    server = database.server
    with server.lock(PREPARED):
        name = prepared_name(database)
        if not is_complete(server, name):
            server.create(database.name)
            with inputs.noted():
                create_schema(database)
            inputs.record(digest(database), MIGRATIONS.rglob("*"))
            prepared_name.cache_clear()
            name = prepared_name(database)
            if not is_complete(server, name):  # or only its record was lost
                if name in server.databases(name):
                    server.drop(name)  # half made
                clone(server, database.name, name)
            server.drop(database.name)
        yield name


def drop_outdated(database: Database) -> None:
    """Drop all but the newest, at the end of the last process that is at work."""
    server = database.server
    for name in server.databases(PREPARED)[KEPT:]:
        with exit_on_failure(database), server.lock(PREPARED):
            others = {process for _, process in databases_of_runs(server)} - {database.name}
            if not any(map(server.is_alive, others)):  # they may be about to clone it
                with suppress(HarnessError):  # it may be another user's
                    server.drop(name)


@cache
def prepared_name(database: Database) -> str:
    """Return a name that is another one when anything has changed that the schema follows from."""
    return f"{PREPARED}{inputs.digest(digest(database))[:8]}"


@cache
def digest(database: Database) -> str:
    """Return a digest of the migrations, the models, and what applies them."""
    digest = hashlib.sha256(f"{database.server.version} {database.url.username}".encode())
    for file in sorted([*MIGRATIONS.rglob("*"), *HARNESS.glob("*.py")]):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(file.read_bytes())
    for metadata in (get_metadata(), test_tables):
        for statement in definition(metadata, database):
            digest.update(statement.encode())
    return digest.hexdigest()


def definition(metadata: MetaData, database: Database) -> list[str]:
    """Return the statements that would create the tables of `metadata`.

    Where that cannot be told without a database, as listeners for "create" want one: something
    that is never the same, so that another one is prepared for each run.
    """
    statements = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine(database.url, note)
    try:
        metadata.create_all(engine, checkfirst=False)
    except Exception:
        statements.append(secrets.token_hex())
    return statements
