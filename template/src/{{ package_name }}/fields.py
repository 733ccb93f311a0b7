"""Types for fields of requests: what is refused here is a 422, not a server error."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field


def refuse_other_types(value: object) -> object:
    """Refuse what pydantic would make a number of, and JSON Schema does not take for one."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")
    return value


Id = Annotated[int, Field(ge=1, le=2**31 - 1)]  # an INTEGER holds no more

# PostgreSQL refuses NUL. A lone surrogate is refused by the check of any pattern.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]

# For numbers in a body. (What stands in a path or a query is always text.)
NUMBER = BeforeValidator(refuse_other_types)

# A field that is misspelt is refused, rather than left empty.
BODY = ConfigDict(extra="forbid", str_strip_whitespace=True)
