"""Stub."""
from collections.abc import Iterator
from contextlib import contextmanager
from sqlalchemy import URL
@contextmanager
def postgresql() -> Iterator[URL]:
    yield URL.create("postgresql", "postgres", host="127.0.0.1", port=5432, database="postgres")
