import pytest
from fastapi.testclient import TestClient
from httpx import AsyncClient
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models import Student
from app.tests.factories import make_course, make_student

ANN = {"email": "ann@example.com", "name": "Ann"}
BOB = {"email": "bob@example.com", "name": "Bob"}


async def test_enrol(client: AsyncClient, db: AsyncSession) -> None:
    course = await make_course(db)
    student = await make_student(db, name="Ann")

    response = await client.post(
        f"/courses/{course.id}/students", json=[{"email": student.email, "name": "Ann"}, BOB]
    )

    assert response.json() == {"taken": 2, "free": 1}
    students = (await client.get(f"/courses/{course.id}")).json()["students"]
    assert {student["name"] for student in students} == {"Ann", "Bob"}
    assert (await db.exec(select(func.count()).select_from(Student))).one() == 2


class TestSeats:
    @pytest.fixture
    async def path(self, db: AsyncSession) -> str:
        return f"/courses/{(await make_course(db, seats=1)).id}/students"

    async def test_nobody_if_not_all(
        self, client: AsyncClient, db: AsyncSession, path: str
    ) -> None:
        response = await client.post(path, json=[ANN, BOB])

        assert response.status_code == 409
        assert (await db.exec(select(Student))).all() == []

    async def test_last_seat(self, client: AsyncClient, path: str) -> None:
        assert (await client.post(path, json=[ANN])).json() == {"taken": 1, "free": 0}
        assert (await client.post(path, json=[BOB])).status_code == 409

    def test_twice_is_once(self, sync_client: TestClient, path: str) -> None:
        assert sync_client.post(path, json=[ANN]).json() == {"taken": 1, "free": 0}
        assert sync_client.post(path, json=[ANN]).json() == {"taken": 1, "free": 0}


def test_openapi(sync_client: TestClient) -> None:
    assert sync_client.get("/openapi.json").json()["info"]["title"] == "Courses"
