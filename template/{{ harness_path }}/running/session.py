"""The session of a test, and what it must have written before the application is called."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

from ..errors import CommitFirstError


class FreshSession(Session):
    """A session whose reads show what the database holds now, not what it saw before.

    The test and the application write to the same rows through different sessions. Without
    `populate_existing` the test would go on seeing the attributes that it loaded first.
    """

    def get(self, *args: Any, populate_existing: bool | None = None, **kwargs: Any) -> Any:
        """Read the row again, also if the identity map has it."""
        if populate_existing is None:
            populate_existing = self.may_refresh(flushes=True)
        return super().get(*args, populate_existing=populate_existing, **kwargs)

    def may_refresh(self, *, flushes: bool) -> bool:
        """Tell whether a refresh would lose no change; a read that `flushes` writes them first."""
        flushes = flushes and self.autoflush and not self._flushing
        return flushes or not any(map(self.is_modified, self.dirty))


@event.listens_for(FreshSession, "do_orm_execute")
def refresh(reading: ORMExecuteState) -> None:
    """Let a read renew the objects that the session has already."""
    session, options = reading.session, reading.execution_options
    if reading.is_select and not reading.is_column_load and "populate_existing" not in options:
        flushes = options.get("autoflush", True) and not reading.is_relationship_load
        if isinstance(session, FreshSession) and session.may_refresh(flushes=flushes):
            reading.update_execution_options(populate_existing=True)


def refuse_pending(session: AsyncSession) -> None:
    """Refuse that the application is called while `session` has yet to write something.

    Raises:
        CommitFirstError: it has.
    """
    changed = (instance for instance in session.dirty if session.is_modified(instance))
    if pending := [*session.new, *session.deleted, *changed]:
        names = ", ".join(sorted({type(instance).__name__ for instance in pending}))
        raise CommitFirstError(
            f"Commit first: the test's session holds changes ({names}) that the application does"
            " not see. If it is not to see them, expunge them, or roll back."
        )
