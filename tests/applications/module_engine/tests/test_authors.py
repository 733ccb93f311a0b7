import pytest
from httpx import AsyncClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Author, Book


@pytest.fixture
async def lem(session: AsyncSession) -> Author:
    author = Author(name="Stanisław Lem")
    author.books = [Book(title="Solaris", year=1961), Book(title="Fiasco", year=1986)]
    session.add(author)
    await session.commit()
    return author


async def test_create_author(client: AsyncClient, session: AsyncSession) -> None:
    response = await client.post("/authors", json={"name": "Ursula K. Le Guin"})

    assert response.status_code == 201
    author = await session.get_one(Author, response.json()["id"])
    assert author.name == "Ursula K. Le Guin"


async def test_create_author_twice(client: AsyncClient, lem: Author) -> None:
    response = await client.post("/authors", json={"name": lem.name})

    assert response.status_code == 409
    assert [author["name"] for author in (await client.get("/authors")).json()] == [lem.name]


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_create_author_with_bad_name(client: AsyncClient, name: str) -> None:
    assert (await client.post("/authors", json={"name": name})).status_code == 422


async def test_list_authors_in_pages(client: AsyncClient, session: AsyncSession) -> None:
    session.add_all([Author(name=name) for name in "DBAC"])
    await session.commit()

    response = await client.get("/authors", params={"limit": 2, "offset": 1})

    assert [author["name"] for author in response.json()] == ["B", "C"]


async def test_get_author(client: AsyncClient, lem: Author) -> None:
    response = await client.get(f"/authors/{lem.id}")

    assert response.json()["name"] == "Stanisław Lem"
    assert [book["title"] for book in response.json()["books"]] == ["Solaris", "Fiasco"]


async def test_get_unknown_author(client: AsyncClient) -> None:
    assert (await client.get("/authors/987654")).status_code == 404


async def test_delete_author_and_books(
    client: AsyncClient, session: AsyncSession, lem: Author
) -> None:
    assert (await client.delete(f"/authors/{lem.id}")).status_code == 204
    assert await session.scalar(select(func.count()).select_from(Book)) == 0
