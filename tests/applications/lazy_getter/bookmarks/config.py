from functools import lru_cache

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    sqlalchemy_database_uri: str = "sqlite+aiosqlite:///./bookmarks.db"
    sqlalchemy_echo: bool = False
    max_bookmarks: int = 1000


@lru_cache
def get_settings() -> Settings:
    return Settings()
