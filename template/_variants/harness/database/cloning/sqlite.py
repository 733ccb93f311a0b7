"""Cloning a database, by SQLite's backup."""

import sqlite3
from contextlib import closing

from .server import Server


def is_complete(server: Server, name: str) -> bool:
    """Tell whether the database `name` exists; it is cloned completely or not at all."""
    return server.path(name).exists()


def clone(server: Server, source: str, name: str) -> None:
    """Create the database `name` as a copy of `source`, its mark included.

    Raises:
        FileExistsError: it exists.
    """
    unfinished, path = server.path(name, "unfinished"), server.path(name)
    unfinished.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(server.path(source))) as original,
        closing(sqlite3.connect(unfinished)) as copy,
    ):
        copy.execute("PRAGMA synchronous = OFF")
        original.backup(copy)
    if path.exists():
        raise FileExistsError(path)
    unfinished.rename(path)
    server.created.add(name)
