"""A harness that cannot fail proves nothing: each promise is broken here, and that is noticed."""

import re

import pytest

from .conftest import Generate

BROKEN = [
    pytest.param(
        "savepoint",
        "isolation.py",
        "            await sandbox.roll_back()\n",
        "",
        "TestCommit",
        id="nothing is rolled back after a test",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "            if writes:\n",
        "            if False:\n",
        "TestCommitFirst",
        id="others see what is not committed",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "self._end(sql.ROLLBACK)",
        "self._end(sql.COMMIT)",
        "TestRollback",
        id="a rollback undoes nothing",
    ),
    pytest.param(
        "savepoint",
        "dialect.py",
        'ROLLBACK: Final = "ROLLBACK TO SAVEPOINT sandbox"',
        'ROLLBACK: Final = "ROLLBACK; BEGIN; SAVEPOINT sandbox"',
        "TestRollback",
        id="a rollback undoes too much",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "        elif sql.aborts_transaction(error)",
        "        elif False and sql.aborts_transaction(error)",
        "TestFailedStatement",
        id="a failed statement takes the others along",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "            if self.is_autocommit and not is_read:\n",
        "            if False:\n",
        "TestAutocommit",
        id="autocommit does not commit",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "        refuse_transaction_control(text)\n",
        "",
        "TestRawTransactionControl",
        id="a raw COMMIT passes",
    ),
    pytest.param(
        "savepoint",
        "sandbox.py",
        "sandbox.connect(dialect, args, options) if sandbox else None",
        "None",
        "TestEngine",
        id="connections are real",
    ),
    pytest.param(
        "savepoint",
        "isolation.py",
        "        drop_schema(database)\n        create_schema(database)\n",
        "",
        "TestRealCommits",
        id="real commits stay",
    ),
    pytest.param(
        "create_drop",
        "isolation.py",
        "    create_schema(database)\n    yield\n    drop_schema(database)\n",
        "    if not hasattr(create_schema, 'done'):\n        create_schema.done = True\n"
        "        create_schema(database)\n    yield\n",
        "TestCommit",
        id="tables are kept",
    ),
    pytest.param(
        "create_drop",
        "fixtures.py",
        '"populate_existing": True',
        "",
        "TestStaleObjects",
        id="queries show stale objects",
    ),
]


@pytest.mark.parametrize(("isolation", "file", "promise", "breach", "story"), BROKEN)
def test_a_broken_harness_is_noticed(
    generate_installed: Generate, isolation: str, file: str, promise: str, breach: str, story: str
) -> None:
    project = generate_installed(isolation=isolation)
    path = project.path / "tests/harness" / file
    source = path.read_text()
    assert source.count(promise) == 1
    path.write_text(source.replace(promise, breach))
    output = project.run("pytest", f"tests/test_contract.py::{story}", "-q", exit_code=1)
    assert re.search(rf"^(FAILED|ERROR) tests/test_contract.py::{story}::", output, re.MULTILINE)
