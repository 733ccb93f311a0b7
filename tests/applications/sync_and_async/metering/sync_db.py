"""The synchronous engine, for administration, reports and jobs."""

from collections.abc import Iterator

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from metering.config import sync_url

engine = create_engine(sync_url(), pool_size=2)
SessionLocal = sessionmaker(engine)


def get_sync_db() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session
