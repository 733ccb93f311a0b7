import pytest
from fastapi.testclient import TestClient

from bookmarks.cli import main
from bookmarks.main import app


def test_add_user():
    main(["add-user", "ann"])

    with TestClient(app, headers={"X-User": "ann"}) as client:
        assert client.get("/bookmarks").json() == []


def test_add_user_twice():
    main(["add-user", "ann"])

    with pytest.raises(SystemExit, match="ann is there already"):
        main(["add-user", "ann"])
