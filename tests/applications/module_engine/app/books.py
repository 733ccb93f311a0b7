from collections.abc import Sequence
from datetime import date, timedelta

from fastapi import APIRouter, HTTPException, status
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from app.config import settings
from app.db import SessionDep
from app.models import Author, Book, Loan
from app.schemas import BookOut, ImportedBook, LoanIn, LoanOut

router = APIRouter(prefix="/books", tags=["books"])


@router.get("", response_model=list[BookOut])
async def list_books(session: SessionDep, year: int | None = None) -> Sequence[Book]:
    query = select(Book).order_by(Book.id)
    if year is not None:
        query = query.where(Book.year == year)
    return (await session.scalars(query)).all()


@router.post("/import", status_code=status.HTTP_201_CREATED)
async def import_books(rows: list[ImportedBook], session: SessionDep) -> dict[str, int]:
    """Take over a list of books, all of them or none."""
    for number, row in enumerate(rows, start=1):
        author = await session.scalar(select(Author).where(Author.name == row.author))
        if author is None:
            author = Author(name=row.author)
            session.add(author)
            await session.flush()
        session.add(Book(author_id=author.id, title=row.title, year=row.year))
        try:
            await session.flush()
        except IntegrityError:
            await session.rollback()
            raise HTTPException(
                status.HTTP_409_CONFLICT, f"Row {number}: this book is here already"
            ) from None
    await session.commit()
    return {"imported": len(rows)}


@router.post("/{book_id}/loan", response_model=LoanOut, status_code=status.HTTP_201_CREATED)
async def lend_book(book_id: int, data: LoanIn, session: SessionDep) -> Loan:
    if await session.get(Book, book_id) is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such book")
    due = date.today() + timedelta(days=settings.loan_days)
    loan = Loan(book_id=book_id, reader=data.reader, due=due)
    session.add(loan)
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise HTTPException(status.HTTP_409_CONFLICT, "Somebody else has this book") from None
    return loan


@router.delete("/{book_id}/loan", status_code=status.HTTP_204_NO_CONTENT)
async def return_book(book_id: int, session: SessionDep) -> None:
    result = await session.execute(delete(Loan).where(Loan.book_id == book_id))
    if result.rowcount == 0:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Nobody has this book")
    await session.commit()
