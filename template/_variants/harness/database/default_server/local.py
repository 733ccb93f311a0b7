"""The PostgreSQL server that tests use where none is named: that of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, make_url

START_ADVICE: Final = (
    "Start it, or set TEST_DATABASE_URL=postgresql://user:password@host:5432/postgres"
)
"""What to do if it cannot be reached."""


@contextmanager
def default_server() -> Iterator[URL]:
    """Yield the address of its database `postgres`."""
    yield make_url("postgresql://postgres@127.0.0.1:5432/postgres")
