import os

from sqlalchemy import URL, make_url

DATABASE_URL = make_url(os.environ.get("DATABASE_URL", "postgresql://localhost/metering"))
ADMIN_TOKEN = os.environ.get("ADMIN_TOKEN", "")

DRIVERS = {
    "postgresql": ("postgresql+asyncpg", "postgresql+psycopg"),
    "sqlite": ("sqlite+aiosqlite", "sqlite+pysqlite"),
}


def async_url() -> URL:
    return DATABASE_URL.set(drivername=DRIVERS[DATABASE_URL.get_backend_name()][0])


def sync_url() -> URL:
    return DATABASE_URL.set(drivername=DRIVERS[DATABASE_URL.get_backend_name()][1])
