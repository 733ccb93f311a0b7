"""Errors have one shape: problem details (RFC 9457), as `application/problem+json`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import responses
from typing import Any

from fastapi import FastAPI, HTTPException, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException as StarletteHTTPException


class Violation(BaseModel):
    """What is wrong with a part of the request."""

    location: str
    detail: str


class Problem(BaseModel):
    """The body of an error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Violation] | None = None


class ProblemResponse(JSONResponse):
    """A response to a request that has failed."""

    media_type = "application/problem+json"

    def __init__(
        self,
        code: int,
        detail: str | None = None,
        errors: list[Violation] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say what went wrong; the status `code` gives the title."""
        title = responses.get(code, "Error")
        problem = Problem(title=title, status=code, detail=detail, errors=errors)
        super().__init__(problem.model_dump(exclude_none=True), code, headers)

    def render(self, content: Any) -> bytes:
        """Return ASCII: keys that a client has sent may be no valid Unicode."""
        return json.dumps(content).encode()


def problems(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return what `responses=` needs to document errors of these statuses."""
    return {status: {"model": Problem} for status in statuses}


class API(FastAPI):
    """An application that answers, and documents, every error as a problem."""

    def __init__(self, **options: Any) -> None:
        """Take the options of `FastAPI`."""
        super().__init__(responses=problems("default"), **options)
        self.exception_handler(StarletteHTTPException)(answer_http_error)
        self.exception_handler(RequestValidationError)(answer_invalid_request)
        self.exception_handler(StaleDataError)(answer_stale_data)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, in which `responses=` cannot give errors a media type."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    content = response.get("content", {})
                    schema = content.get("application/json", {}).get("schema")
                    if schema == {"$ref": "#/components/schemas/Problem"}:
                        content[ProblemResponse.media_type] = content.pop("application/json")
        return document


async def answer_http_error(_: Request, error: StarletteHTTPException) -> ProblemResponse:
    """Answer an `HTTPException`, FastAPI's own (404, 405) included."""
    detail: str | None = str(error.detail)
    if detail == responses.get(error.status_code):  # Starlette's own, which the title says
        detail = None
    return ProblemResponse(error.status_code, detail, headers=error.headers)


async def answer_invalid_request(_: Request, error: RequestValidationError) -> ProblemResponse:
    """Answer 422 and say what is wrong, without the values: they may be secret, or no Unicode."""
    return ProblemResponse(
        status.HTTP_422_UNPROCESSABLE_CONTENT,
        errors=[
            Violation(location=".".join(map(str, each["loc"])), detail=each["msg"])
            for each in error.errors()
        ],
    )


async def answer_stale_data(_: Request, __: StaleDataError) -> ProblemResponse:
    """Answer 409 if what a request changes is not there any more."""
    return ProblemResponse(status.HTTP_409_CONFLICT, "it has been changed or deleted meanwhile")


@contextmanager
def conflict(detail: str) -> Iterator[None]:
    """Answer 409 if the block violates a constraint of the database; the session rolls back."""
    try:
        yield
    except IntegrityError as error:
        raise HTTPException(status.HTTP_409_CONFLICT, detail) from error
