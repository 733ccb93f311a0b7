"""A small application for the tests of the contract, so that these do not depend on yours.

It does what applications do: it commits, rolls back, nests, streams, answers 409, writes in the
background and in its lifespan. Its tables are created beside yours in the tests' database.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import String, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .schema import test_tables


class Base(DeclarativeBase):
    """The base of the contract's tables."""

    metadata = test_tables


class Note(Base):
    """A note. No two have the same text."""

    __tablename__ = "contract_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50), unique=True)
    likes: Mapped[int] = mapped_column(default=0)


def create_app(engine: AsyncEngine) -> FastAPI:
    """Build the application on `engine`, with a session for each request."""
    session_factory = async_sessionmaker(engine, expire_on_commit=False)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with session_factory() as session:
            yield session

    SessionDep = Annotated[AsyncSession, Depends(get_session)]

    async def add(text: str) -> None:
        async with session_factory.begin() as session:
            session.add(Note(text=text))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await add("started")
        yield
        await add("stopped")

    app = FastAPI(lifespan=lifespan)

    @app.post("/notes/{text}", status_code=201)
    async def create(text: str, session: SessionDep) -> None:
        """Commit a note; 409 if there is one of that text."""
        session.add(Note(text=text))
        try:
            await session.commit()
        except IntegrityError as error:
            await session.rollback()
            raise HTTPException(409) from error

    @app.post("/notes/{text}/regretted")
    async def create_and_roll_back(text: str, session: SessionDep) -> None:
        """Write a note, then roll back."""
        session.add(Note(text=text))
        await session.flush()
        await session.rollback()

    @app.post("/notes/{text}/nested")
    async def create_with_savepoint(text: str, session: SessionDep) -> None:
        """Commit a note though another one, in a nested transaction, fails."""
        session.add(Note(text=text))
        await session.flush()
        try:
            async with session.begin_nested():
                session.add(Note(text=text))
        except IntegrityError:
            session.add(Note(text=f"{text}, once"))
        await session.commit()

    @app.post("/notes/{text}/later")
    async def create_later(text: str, background: BackgroundTasks) -> None:
        """Write a note after the response."""
        background.add_task(add, text)

    @app.post("/notes/{text}/likes")
    async def like(text: str, session: SessionDep) -> None:
        """Add one to a number, as one must where others may do the same."""
        note = (
            await session.scalars(select(Note).where(Note.text == text).with_for_update())
        ).one()
        await asyncio.sleep(0)  # the others get their chance
        note.likes += 1
        await session.commit()

    @app.get("/notes")
    async def read(session: SessionDep) -> list[str]:
        """Read all notes."""
        return [*await session.scalars(select(Note.text).order_by(Note.text))]

    @app.get("/notes/stream")
    async def stream(session: SessionDep) -> StreamingResponse:
        """Send notes while they are read."""

        async def lines() -> AsyncIterator[str]:
            async for note in await session.stream_scalars(select(Note.text).order_by(Note.text)):
                yield f"{note}\n"

        return StreamingResponse(lines())

    @app.get("/broken")
    async def fail(session: SessionDep) -> None:
        """Fail on the server, in a statement that only reads."""
        await session.execute(text("SELECT * FROM no_such_table"))

    return app
