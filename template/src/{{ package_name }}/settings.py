"""What the environment decides, read once from variables or from the file `.env`."""

from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .database_url import DatabaseUrl


class Settings(BaseSettings):
    """The application's settings; each field is an environment variable of the same name.

    Make a secret a `SecretStr`, which no log and no error shows.
    """

    # Without `hide_input_in_errors`, an error about one variable shows the values of others.
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", hide_input_in_errors=True)

    database_url: DatabaseUrl
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        SystemExit: a variable is missing or wrong. The message names it, without its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"* {'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        where = "Set in the environment or .env (see .env.example), for tests in tests/conftest.py:"
        raise SystemExit("\n".join([where, *wrong])) from None


settings = load_settings()
