import asyncio

import pytest
import pytest_asyncio
from httpx import AsyncClient
from sqlalchemy import select

from helpdesk.database import DatabaseManager
from helpdesk.models import Comment, Project, Status, Ticket


@pytest_asyncio.fixture
async def tickets(database: DatabaseManager) -> list[Ticket]:
    async with database.session() as session:
        project = Project(key="WEB")
        tickets = [Ticket(project=project, title=title) for title in ("Slow", "Broken", "Ugly")]
        session.add_all(tickets)
    return tickets


@pytest.mark.asyncio
async def test_create_project(client: AsyncClient) -> None:
    response = await client.post("/api/projects", json={"key": "WEB"})

    assert response.status_code == 201
    assert response.json() == {"id": 1, "key": "WEB"}


@pytest.mark.asyncio
async def test_create_project_twice(client: AsyncClient) -> None:
    await client.post("/api/projects", json={"key": "WEB"})
    response = await client.post("/api/projects", json={"key": "WEB"})

    assert response.status_code == 409
    assert response.json() == {"detail": "Project WEB exists"}


@pytest.mark.asyncio
async def test_list_projects(client: AsyncClient, tickets: list[Ticket]) -> None:
    await client.post("/api/projects", json={"key": "APP"})

    response = await client.get("/api/projects")

    assert response.json() == [{"key": "APP", "tickets": 0}, {"key": "WEB", "tickets": 3}]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("POST", "/api/projects/NOPE/tickets", {"title": "Lost"}),
        ("GET", "/api/tickets/1", None),
        ("POST", "/api/tickets/1/comments", {"body": "Me too"}),
    ],
)
async def test_not_found(
    client: AsyncClient, method: str, path: str, data: dict[str, str] | None
) -> None:
    response = await client.request(method, path, json=data)

    assert response.status_code == 404


@pytest.mark.asyncio
async def test_create_ticket(client: AsyncClient, tickets: list[Ticket]) -> None:
    response = await client.post("/api/projects/WEB/tickets", json={"title": "Fourth"})

    assert response.json() == {"id": 4, "title": "Fourth", "status": "open"}


@pytest.mark.asyncio
class TestComments:
    async def test_comment(self, client: AsyncClient, tickets: list[Ticket]) -> None:
        path = f"/api/tickets/{tickets[0].id}"
        for body in ("Me too", "Fixed"):
            await client.post(f"{path}/comments", json={"body": body})

        assert (await client.get(path)).json() == {
            "title": "Slow",
            "status": "open",
            "comments": ["Me too", "Fixed"],
        }

    async def test_comments_at_once(self, client: AsyncClient, tickets: list[Ticket]) -> None:
        path = f"/api/tickets/{tickets[0].id}"
        posts = [client.post(f"{path}/comments", json={"body": str(n)}) for n in range(5)]
        responses = await asyncio.gather(*posts)

        assert {response.status_code for response in responses} == {201}
        assert len((await client.get(path)).json()["comments"]) == 5

    async def test_closed_ticket(
        self, client: AsyncClient, database: DatabaseManager, tickets: list[Ticket]
    ) -> None:
        async with database.session() as session:
            (await session.get_one(Ticket, 1)).status = Status.CLOSED

        response = await client.post("/api/tickets/1/comments", json={"body": "Too late"})

        assert response.status_code == 409


@pytest.mark.asyncio
async def test_close_tickets(client: AsyncClient, tickets: list[Ticket]) -> None:
    data = {"ids": [1, 2], "reason": "Spring cleaning"}

    assert (await client.post("/api/tickets/close", json=data)).json() == {"closed": 2}
    assert (await client.get("/api/tickets/2")).json() == {
        "title": "Broken",
        "status": "closed",
        "comments": ["Spring cleaning"],
    }


@pytest.mark.asyncio
async def test_close_none_if_one_fails(
    client: AsyncClient, database: DatabaseManager, tickets: list[Ticket]
) -> None:
    data = {"ids": [1, 2, 99], "reason": "Spring cleaning"}

    assert (await client.post("/api/tickets/close", json=data)).status_code == 404
    async with database.session() as session:
        assert set(await session.scalars(select(Ticket.status))) == {Status.OPEN}
        assert (await session.scalars(select(Comment))).all() == []
