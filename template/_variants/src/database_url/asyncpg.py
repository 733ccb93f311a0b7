"""The address of the database, as platforms hand it out and as the driver needs it."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import AfterValidator, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+asyncpg"
INVALID = (ArgumentError, ValueError)  # what `make_url` raises


def for_driver(address: SecretStr) -> SecretStr:
    """Return `address` for the driver; one that names the driver stays as it is.

    Raises:
        ValueError: it is not the address of a PostgreSQL database. The message does not contain it.
    """
    try:
        url = make_url(address.get_secret_value())
        if "@" in (url.host or ""):  # one of the password's, not escaped
            raise ValueError
    except INVALID:
        raise ValueError(
            "is no valid address; write postgresql://user:password@host:5432/name,"
            " a number as the port, and special characters of the password as %40 and the like"
        ) from None
    if url.drivername not in ("postgresql", "postgres", DRIVER):
        raise ValueError(f"begins with {url.drivername}://, not with postgresql:// or {DRIVER}://")
    if unknown := url.query.keys() & {"channel_binding", "connect_timeout"}:
        names = ", ".join(sorted(unknown))
        raise ValueError(f"has options that asyncpg does not know; leave them out: {names}")
    if url.drivername == DRIVER:
        if "sslmode" in url.query:
            raise ValueError("has an option of libpq, sslmode; begin it with postgresql://")
        return address
    url = url.set(drivername=DRIVER)
    if url.query:  # asyncpg understands `sslmode` and the like in an address of its own only
        url = url.set(query={"dsn": f"postgresql://?{urlencode(url.query, doseq=True)}"})
    return SecretStr(url.render_as_string(hide_password=False))


DatabaseUrl = Annotated[SecretStr, AfterValidator(for_driver)]
