"""Watches over what could reach from one test into another: event loops, connections, tasks.

Every connection that SQLAlchemy opens to the tests' database is opened here, behind a thin proxy
that refuses to be used on another event loop than its own; a driver would notice that late, at
some later statement, or never. When a test ends, what it has left open is named, and closed.

All of it hangs on SQLAlchemy's public events, so it works for any engine, wherever that lives.

    plugin.py     begins, with the run and with each loop
    watch.py      opens connections, and ends what a test has left open
    guard.py      the proxy, and what is known of a connection
    who.py        who is at work: the test, the fixture, the line of the project
    loops.py      what is said of a wrong event loop
    interrupt.py  says what an interrupted test was running, and ends it
    log.py        what a test has sent: in its report if it fails, and to be counted
    report.py     shows an error of the harness on one screen
    runner.py     what depends on the plugin that runs async tests
    tasks.py      which tasks are a test's, and which the harness's
"""
