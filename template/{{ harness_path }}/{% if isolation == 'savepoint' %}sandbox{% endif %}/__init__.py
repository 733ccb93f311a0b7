"""A sandbox between SQLAlchemy's pool and the driver: it behaves like the database, and forgets.

While it is open, every connection that a pool opens to the tests' database is a proxy of one
shared, real connection. SQLAlchemy, and so the application, uses the proxies like any DBAPI
connection: the application keeps its engines, pools and sessions; nothing in it is replaced. The
idea comes from Ecto's SQL sandbox; SQLAlchemy's event `do_connect` makes it possible.

On the shared connection an outer transaction is open. Its last savepoint is the state that counts
as committed; those before it are of data that tests share.

* COMMIT moves the savepoint forward, ROLLBACK returns to it. Beginning a transaction costs nothing,
  and neither does one that only reads.
* Statements take turns. One transaction writes at a time: it is the writer from its first statement
  that may do more than read until it ends. Meanwhile those of all others wait, so nobody ever sees
  uncommitted data. Transactions see what READ COMMITTED shows on a server.
* A statement that waits for a transaction which its own task has left open would never end: it
  fails at once. One that waits for another task fails after `WAIT_TIMEOUT` seconds.
* What belongs to one session (settings that outlive their transaction, temporary tables, session
  locks, the driver's own connection) is refused: all transactions share one session.
* After the test, all is rolled back that it has written.

    sandbox.py       the shared connection: whose turn it is, and what counts as committed
    connection.py    the proxies, which pools hold in place of DBAPI connections
    statements.py    the statements of this database: which only read, write, are refused
    driver.py        what is particular to connections of this driver
    fixture.py       opens the sandbox on each loop
    real_commits.py  undoes tests that are marked `real_commits`
"""
