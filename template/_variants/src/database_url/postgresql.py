"""The address of the database, as platforms hand it out and as the driver needs it."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+{{ driver }}"
INVALID = (ArgumentError, ValueError)  # what `make_url` raises


def for_driver(address: SecretStr) -> SecretStr:
    """Return `address` for the driver, which knows all options of libpq, such as `sslmode`.

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
    return SecretStr(url.set(drivername=DRIVER).render_as_string(hide_password=False))


DatabaseUrl = Annotated[SecretStr, AfterValidator(for_driver)]
