"""What the harness says when it cannot keep its promises, or when a test breaks them."""

from collections.abc import Container


class HarnessError(Exception):
    """The tests cannot go on as they are; the message says what happened and the way out."""


class CommitFirstError(HarnessError):
    """A statement waits for a transaction that does not end before it."""


class TransactionControlError(HarnessError):
    """A statement would take the control of transactions out of the sandbox's hands."""


class WrongLoopError(HarnessError):
    """The database is used on another event loop than the test's."""


class OutsideTestError(HarnessError):
    """The database is used where nothing that is written would be undone."""


class LeakError(HarnessError):
    """A test has left something open that would reach into the next."""


def check_isolation_level(level: object, allowed: Container[object]) -> None:
    """Refuse isolation levels that one connection cannot show.

    Raises:
        TransactionControlError: `level` is none of the `allowed` ones.
    """
    if level not in allowed:
        raise TransactionControlError(
            f"The sandbox shows READ COMMITTED, not {level}, since all its transactions share one"
            " connection. Mark the test with @pytest.mark.real_commits."
        )
