import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models import Course
from app.tests.factories import make_course


def test_create_course(sync_client: TestClient) -> None:
    response = sync_client.post("/courses/", json={"title": "Pottery", "seats": 5})

    assert response.status_code == 201
    content = response.json()
    assert content["title"] == "Pottery"
    assert content["seats"] == 5
    assert "id" in content


def test_create_course_already_exists(sync_client: TestClient) -> None:
    assert sync_client.post("/courses/", json={"title": "Pottery"}).status_code == 201
    assert sync_client.post("/courses/", json={"title": "Pottery"}).status_code == 409


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_course_not_found(sync_client: TestClient, method: str) -> None:
    response = sync_client.request(method, "/courses/999999")

    assert response.status_code == 404
    assert response.json() == {"detail": "Course not found"}


async def test_read_courses(client, db: AsyncSession) -> None:
    for title in ("Cooking", "Archery", "Ballet"):
        await make_course(db, title=title)

    response = await client.get("/courses/", params={"skip": 1})

    assert [course["title"] for course in response.json()] == ["Ballet", "Cooking"]


async def test_update_course(client, db: AsyncSession) -> None:
    course = await make_course(db, seats=3)

    response = await client.patch(f"/courses/{course.id}", json={"seats": 8})

    assert response.json() == {"id": course.id, "title": course.title, "seats": 8}
    await db.refresh(course)
    assert course.seats == 8


async def test_delete_course(client, db: AsyncSession) -> None:
    course = await make_course(db)

    assert (await client.delete(f"/courses/{course.id}")).status_code == 204
    assert (await db.exec(select(Course))).all() == []
