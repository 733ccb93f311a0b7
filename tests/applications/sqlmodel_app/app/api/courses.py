from collections.abc import Sequence

from fastapi import APIRouter, HTTPException
from sqlalchemy.exc import IntegrityError
from sqlmodel import func, select

from app.api.deps import CourseDep, SessionDep
from app.models import (
    Course,
    CourseBase,
    CoursePublic,
    CourseUpdate,
    CourseWithStudents,
    Enrolment,
    Student,
    StudentBase,
)

router = APIRouter(prefix="/courses", tags=["courses"])


@router.post("/", response_model=CoursePublic, status_code=201)
async def create_course(course_in: CourseBase, session: SessionDep) -> Course:
    course = Course.model_validate(course_in)
    session.add(course)
    try:
        await session.commit()
    except IntegrityError as exc:
        await session.rollback()
        raise HTTPException(status_code=409, detail="Course already exists") from exc
    await session.refresh(course)
    return course


@router.get("/", response_model=list[CoursePublic])
async def read_courses(session: SessionDep, skip: int = 0, limit: int = 100) -> Sequence[Course]:
    statement = select(Course).order_by(Course.title).offset(skip).limit(limit)
    return (await session.exec(statement)).all()


@router.get("/{course_id}", response_model=CourseWithStudents)
async def read_course(course: CourseDep) -> Course:
    return course


@router.patch("/{course_id}", response_model=CoursePublic)
async def update_course(course: CourseDep, course_in: CourseUpdate, session: SessionDep) -> Course:
    course.sqlmodel_update(course_in.model_dump(exclude_unset=True))
    session.add(course)
    await session.commit()
    return course


@router.delete("/{course_id}", status_code=204)
async def delete_course(course: CourseDep, session: SessionDep) -> None:
    await session.delete(course)
    await session.commit()


@router.post("/{course_id}/students", status_code=201)
async def enrol(
    course: CourseDep, students_in: list[StudentBase], session: SessionDep
) -> dict[str, int]:
    """Enrol a group. Whoever is new is created; if there are too few seats, nobody is."""
    course_id, seats = course.id, course.seats
    for student_in in students_in:
        student = (
            await session.exec(select(Student).where(Student.email == student_in.email))
        ).first()
        if student is None:
            student = Student.model_validate(student_in)
            session.add(student)
            await session.flush()
        await session.merge(Enrolment(course_id=course_id, student_id=student.id))
        await session.flush()
    statement = select(func.count()).where(Enrolment.course_id == course_id)
    taken = (await session.exec(statement)).one()
    if taken > seats:
        await session.rollback()
        raise HTTPException(status_code=409, detail="Not enough seats")
    await session.commit()
    return {"taken": taken, "free": seats - taken}
