from typing import Annotated

from fastapi import Depends, HTTPException
from sqlalchemy.orm import selectinload
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import get_session
from app.models import Course

SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_course(course_id: int, session: SessionDep) -> Course:
    course = await session.get(Course, course_id, options=[selectinload(Course.students)])
    if not course:
        raise HTTPException(status_code=404, detail="Course not found")
    return course


CourseDep = Annotated[Course, Depends(get_course)]
