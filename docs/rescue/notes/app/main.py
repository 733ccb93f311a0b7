from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import get_session
from app.models import Note

app = FastAPI()
Session = Annotated[AsyncSession, Depends(get_session)]


@app.post("/notes", status_code=201)
async def create_note(text: str, session: Session) -> int:
    note = Note(text=text)
    session.add(note)
    await session.commit()
    return note.id


@app.get("/notes")
async def list_notes(session: Session) -> list[str]:
    return list(await session.scalars(select(Note.text).order_by(Note.id)))
