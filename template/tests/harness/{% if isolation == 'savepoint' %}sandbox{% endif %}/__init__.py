"""A sandbox between SQLAlchemy's pool and the driver: it behaves like the database, and forgets.

While it is open, every connection that a pool opens to the tests' database is a proxy of one
shared, real connection. SQLAlchemy, and so the application, uses the proxies as it uses any DBAPI
connection: it keeps its engines, pools and sessions, and nothing in it is replaced. Ecto's SQL
sandbox is the model of the idea; SQLAlchemy's event `do_connect` is what makes it possible.

On the shared connection one outer transaction is open, and in it one savepoint: the state that
counts as committed.

* COMMIT moves the savepoint forward, ROLLBACK returns to it. To begin costs nothing, and neither
  does a transaction that only reads.
* One transaction writes at a time: it holds the sandbox from its first statement that is not
  surely a plain read until it ends. Meanwhile the statements of all others wait, so nobody ever
  sees what is not committed. What READ COMMITTED shows on a server is what is seen here.
* A statement that waits for a transaction which its own task has left open would wait forever:
  it gets an error at once. One that waits for another task gets it after `WAIT_TIMEOUT` seconds.
* What belongs to one session (settings that outlive their transaction, temporary tables, locks of
  the session, the driver's own connection) is refused: all share one session.
* After the test the outer transaction is rolled back.

    sandbox.py       the shared connection: whose turn it is, and what counts as committed
    connection.py    what pools hold in its place: one transaction at a time
    dialect.py       the statements of this database: what only reads, writes, is refused
    driver.py        what SQLAlchemy calls on a connection of this driver
    real_commits.py  what undoes the tests that are marked `real_commits`
"""
