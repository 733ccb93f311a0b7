"""What the bodies of requests are made of: what is refused here is a 422, not a server error."""

from typing import Annotated

from pydantic import ConfigDict, Field

Id = Annotated[int, Field(ge=1, le=2**31 - 1)]  # an INTEGER holds no more

# PostgreSQL refuses NUL. A lone surrogate is refused by the check of any pattern.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]

# A field that is misspelt is refused, rather than left empty.
BODY = ConfigDict(extra="forbid", str_strip_whitespace=True)
