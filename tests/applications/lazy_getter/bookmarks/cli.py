"""python -m bookmarks.cli create-tables | add-user NAME"""

import argparse
import asyncio
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from bookmarks.database import get_engine, get_sessionmaker
from bookmarks.models import Base, User


async def create_tables() -> None:
    async with get_engine().begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await get_engine().dispose()


async def add_user(name: str) -> None:
    try:
        async with get_sessionmaker().begin() as session:
            session.add(User(name=name))
    except IntegrityError:
        raise SystemExit(f"{name} is there already") from None
    finally:
        await get_engine().dispose()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create-tables")
    commands.add_parser("add-user").add_argument("name")
    options = parser.parse_args(arguments)
    asyncio.run(create_tables() if options.command == "create-tables" else add_user(options.name))


if __name__ == "__main__":
    main()
