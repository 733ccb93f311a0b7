import os

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def connect(variable: str) -> AsyncEngine:
    """Make an engine for the database that the environment variable names."""
    return create_async_engine(make_url(os.environ[variable]), pool_pre_ping=True)


main_engine = connect("MAIN_DATABASE_URL")
audit_engine = connect("AUDIT_DATABASE_URL")
