from pydantic import PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    database_url: PostgresDsn | str = "postgresql+asyncpg://postgres@localhost:5432/library"
    loan_days: int = 28


settings = Settings()
