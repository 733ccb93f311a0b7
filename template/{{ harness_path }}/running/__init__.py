"""What runs beside a test: the application, and the session that arranges and asserts.

lifespan.py     starts the application and shuts it down, as servers do
session.py      a session that shows what the database holds now
live_server.py  serves the application on a port
client.py       calls the application, in process or by a server
portal.py       runs coroutines for plain functions, on the loop of the test
sync_client.py  calls the application from there, as Starlette's TestClient
"""
