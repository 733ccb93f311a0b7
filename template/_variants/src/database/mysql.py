"""The engine, the session factory and the session of a request, made in one place."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from .settings import settings

# READ COMMITTED: a transaction sees what others have committed, not the snapshot of its first read.
engine = create_async_engine(
    settings.database_url.get_secret_value(), isolation_level="READ COMMITTED", pool_pre_ping=True
)

# Attributes stay loaded after a commit: refreshing them would be I/O where nobody awaits it.
session_factory = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield the session of one request. What is not committed when it ends is rolled back."""
    async with session_factory() as session:
        yield session


# It ends before the response is sent, so that neither a slow client nor a background task keeps a
# connection from other requests. A stream that reads opens a session of its own.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
