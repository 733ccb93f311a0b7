from datetime import date

from pydantic import BaseModel, ConfigDict, Field


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AuthorIn(BaseModel):
    name: str = Field(min_length=1, max_length=200)


class AuthorOut(Out):
    id: int
    name: str


class BookIn(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    year: int | None = Field(default=None, ge=0, le=2100)


class BookOut(Out):
    id: int
    title: str
    year: int | None


class AuthorWithBooks(AuthorOut):
    books: list[BookOut]


class ImportedBook(BookIn):
    author: str


class LoanIn(BaseModel):
    reader: str


class LoanOut(Out):
    book_id: int
    reader: str
    due: date
