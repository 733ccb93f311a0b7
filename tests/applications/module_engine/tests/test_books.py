from datetime import date, timedelta

import pytest
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Author, Book


async def add_book(session: AsyncSession, title: str = "Solaris") -> Book:
    book = Book(title=title, year=1961, author=Author(name=f"The author of {title}"))
    session.add(book)
    await session.commit()
    return book


async def test_health(client: AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_add_book(client: AsyncClient, session: AsyncSession) -> None:
    author_id = (await add_book(session)).author_id

    first = await client.post(f"/authors/{author_id}/books", json={"title": "Eden"})
    second = await client.post(f"/authors/{author_id}/books", json={"title": "Eden"})

    assert (first.status_code, second.status_code) == (201, 409)


@pytest.mark.parametrize(("year", "titles"), [(1961, ["Solaris"]), (1962, [])])
async def test_list_books_by_year(
    client: AsyncClient, session: AsyncSession, year: int, titles: list[str]
) -> None:
    await add_book(session)

    response = await client.get("/books", params={"year": year})

    assert [book["title"] for book in response.json()] == titles


async def test_import(client: AsyncClient) -> None:
    rows = [{"author": "Lem", "title": "Eden"}, {"author": "Lem", "title": "Solaris"}]

    response = await client.post("/books/import", json=rows)

    assert response.json() == {"imported": 2}
    assert len((await client.get("/authors")).json()) == 1


async def test_failed_import_leaves_nothing(client: AsyncClient) -> None:
    rows = [{"author": "Lem", "title": "Eden"}, {"author": "Lem", "title": "Eden"}]

    response = await client.post("/books/import", json=rows)

    assert response.status_code == 409
    assert response.json()["detail"].startswith("Row 2")
    assert (await client.get("/books")).json() == []
    assert (await client.get("/authors")).json() == []


class TestLoans:
    async def test_lend(self, client: AsyncClient, session: AsyncSession) -> None:
        book = await add_book(session)

        response = await client.post(f"/books/{book.id}/loan", json={"reader": "Ann"})

        due = date.today() + timedelta(days=28)
        assert response.json() == {"book_id": book.id, "reader": "Ann", "due": due.isoformat()}

    async def test_lend_twice(self, client: AsyncClient, session: AsyncSession) -> None:
        url = f"/books/{(await add_book(session)).id}/loan"

        assert (await client.post(url, json={"reader": "Ann"})).status_code == 201
        assert (await client.post(url, json={"reader": "Bob"})).status_code == 409
        assert (await client.delete(url)).status_code == 204
        assert (await client.post(url, json={"reader": "Bob"})).status_code == 201

    async def test_return_what_nobody_has(self, client: AsyncClient) -> None:
        assert (await client.delete("/books/987654/loan")).status_code == 404
