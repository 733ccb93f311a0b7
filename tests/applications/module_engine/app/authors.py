from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, status
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from app.db import SessionDep
from app.models import Author, Book
from app.schemas import AuthorIn, AuthorOut, AuthorWithBooks, BookIn, BookOut

router = APIRouter(prefix="/authors", tags=["authors"])


async def load_author(author_id: int, session: SessionDep) -> Author:
    author = await session.get(
        Author, author_id, options=[selectinload(Author.books).selectinload(Book.loan)]
    )
    if author is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such author")
    return author


AuthorDep = Annotated[Author, Depends(load_author)]


@router.post("", response_model=AuthorOut, status_code=status.HTTP_201_CREATED)
async def create_author(data: AuthorIn, session: SessionDep) -> Author:
    author = Author(**data.model_dump())
    session.add(author)
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise HTTPException(status.HTTP_409_CONFLICT, "This author is here already") from None
    return author


@router.get("", response_model=list[AuthorOut])
async def list_authors(session: SessionDep, limit: int = 20, offset: int = 0) -> Sequence[Author]:
    query = select(Author).order_by(Author.name).limit(limit).offset(offset)
    return (await session.scalars(query)).all()


@router.get("/{author_id}", response_model=AuthorWithBooks)
async def get_author(author: AuthorDep) -> Author:
    return author


@router.delete("/{author_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_author(author: AuthorDep, session: SessionDep) -> None:
    await session.delete(author)
    await session.commit()


@router.post("/{author_id}/books", response_model=BookOut, status_code=status.HTTP_201_CREATED)
async def create_book(data: BookIn, author: AuthorDep, session: SessionDep) -> Book:
    book = Book(author_id=author.id, **data.model_dump())
    session.add(book)
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise HTTPException(status.HTTP_409_CONFLICT, "This book is here already") from None
    return book
