"""Cloning a database."""

from typing import Final

from .server import Server

SETTINGS: Final = """
    SELECT format(
        'ALTER ROLE %s IN DATABASE "{name}" SET %I TO %s',
        CASE setrole WHEN 0 THEN 'ALL' ELSE quote_ident(pg_get_userbyid(setrole)) END,
        parts[1],
        CASE parts[1] WHEN 'search_path' THEN parts[2] ELSE quote_literal(parts[2]) END
    )
    FROM pg_database JOIN pg_db_role_setting ON setdatabase = pg_database.oid,
    unnest(setconfig) setting, regexp_match(setting, '([^=]*)=(.*)') parts
    WHERE datname = '{source}' AND parts[1] NOT IN ('lock_timeout', 'synchronous_commit')
"""
"""What sets again what migrations have set for their database; a template does not pass it on."""


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
    for (statement,) in server.admin.query(SETTINGS.format(name=name, source=source)):
        server.admin.query(statement)
