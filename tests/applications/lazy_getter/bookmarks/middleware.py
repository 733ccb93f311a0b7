from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from bookmarks.database import get_sessionmaker


async def session_per_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Give each request a session; commit what it did unless it failed."""
    async with get_sessionmaker()() as session:
        request.state.session = session
        try:
            response = await call_next(request)
        except Exception:
            await session.rollback()
            raise
        if response.status_code < 400:
            await session.commit()
        else:
            await session.rollback()
        return response
