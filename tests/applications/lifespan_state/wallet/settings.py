from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WALLET_", env_file=".env")

    database_url: str = "sqlite+aiosqlite:///./wallet.db"
    max_transfer: int = 1_000_000
