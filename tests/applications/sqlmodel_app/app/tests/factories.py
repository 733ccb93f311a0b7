from itertools import count
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models import Course, Student

number = count(1)


async def make_course(db: AsyncSession, **values: Any) -> Course:
    course = Course(**{"title": f"Course {next(number)}", "seats": 3} | values)
    db.add(course)
    await db.commit()
    return course


async def make_student(db: AsyncSession, **values: Any) -> Student:
    n = next(number)
    student = Student(**{"email": f"student{n}@example.com", "name": f"Student {n}"} | values)
    db.add(student)
    await db.commit()
    return student
