"""The address of the database, as people write it and as the driver needs it."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "sqlite+{{ driver }}"
INVALID = (ArgumentError, ValueError)  # what `make_url` raises


def for_driver(address: SecretStr) -> SecretStr:
    """Return `address` for the driver.

    Raises:
        ValueError: it is not the address of a SQLite file. The message does not contain it.
    """
    try:
        url = make_url(address.get_secret_value())
    except INVALID:
        raise ValueError(
            "is no valid address; write sqlite:///name.db or sqlite:////path/name.db"
        ) from None
    if url.drivername not in ("sqlite", DRIVER):
        raise ValueError(f"begins with {url.drivername}://, not with sqlite:// or {DRIVER}://")
    return SecretStr(url.set(drivername=DRIVER).render_as_string(hide_password=False))


DatabaseUrl = Annotated[SecretStr, AfterValidator(for_driver)]
