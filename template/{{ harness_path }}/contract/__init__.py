"""What a test may rely on, as tests. They are the harness's: `pytest` alone does not run them.

Run `pytest tests/harness/contract` after an update of SQLAlchemy, the driver or the runner. Two of
its tests fail on purpose (xfailed): what they leave must be gone in the others.

    test_contract.py  the promises
    example_app.py    a small application that does what applications do
"""
