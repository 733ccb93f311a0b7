from typing import Any

from dependency_injector import containers, providers
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from shop.services import Catalogue, Orders, Payments


def database_url(db: dict[str, Any]) -> URL:
    """Return DB_URL if it is set (SQLite, on our laptops), else the address made of its parts."""
    if db["url"]:
        return make_url(db["url"])
    if not db["password"]:
        raise ValueError("DB_PASSWORD is not set")
    return URL.create(
        "postgresql+asyncpg", db["user"], db["password"], db["host"], db["port"], db["name"]
    )


class Container(containers.DeclarativeContainer):
    config = providers.Configuration()

    url = providers.Singleton(database_url, config.db)
    engine = providers.Singleton(create_async_engine, url)
    session_factory = providers.Singleton(async_sessionmaker, engine, expire_on_commit=False)

    payments = providers.Singleton(Payments)
    catalogue = providers.Factory(Catalogue, session_factory)
    orders = providers.Factory(Orders, session_factory, payments)


def build_container() -> Container:
    container = Container()
    db = container.config.db
    db.url.from_env("DB_URL", default=None)
    db.host.from_env("DB_HOST", default="localhost")
    db.port.from_env("DB_PORT", default=5432, as_=int)
    db.user.from_env("DB_USER", default="shop")
    db.password.from_env("DB_PASSWORD", default=None)
    db.name.from_env("DB_NAME", default="shop")
    return container
