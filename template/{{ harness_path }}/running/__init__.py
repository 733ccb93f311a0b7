"""What runs beside a test: the application, and the session that arranges and asserts.

lifespan.py  starts the application and shuts it down, as servers do
session.py   a session that shows what the database holds now
"""
