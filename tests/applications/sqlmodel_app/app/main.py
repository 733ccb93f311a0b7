"""Courses, written with SQLModel: its models and its AsyncSession, from a module-level engine."""

from fastapi import FastAPI

from app.api import courses
from app.core.config import settings

app = FastAPI(title=settings.PROJECT_NAME, openapi_url=f"{settings.API_PREFIX}/openapi.json")
app.include_router(courses.router, prefix=settings.API_PREFIX)
