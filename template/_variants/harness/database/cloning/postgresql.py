"""Cloning a database."""

from .server import Server


def is_complete(server: Server, name: str) -> bool:
    """Tell whether the database `name` exists; it is cloned completely or not at all."""
    return name in server.databases(name)


def clone(server: Server, source: str, name: str) -> None:
    """Create the database `name` as a copy of `source`, its mark included.

    Raises:
        ServerError: it exists, or cannot be created.
    """
    if source in server.created:  # by migrations, whose env.py may have left a pool of connections
        server.end_connections(source)
    server.create_with_options(name, f'TEMPLATE "{source}"')
