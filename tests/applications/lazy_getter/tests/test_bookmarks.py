import pytest

from bookmarks.config import get_settings
from bookmarks.main import app
from bookmarks.models import User
from bookmarks.views import current_user

PYTHON = {"url": "https://www.python.org/", "title": "Python"}
SQLALCHEMY = {"url": "https://www.sqlalchemy.org/", "title": "SQLAlchemy"}


def titles(client, **params):
    return [bookmark["title"] for bookmark in client.get("/bookmarks", params=params).json()]


def test_create_user(client):
    response = client.post("/users", json={"name": "ann"})

    assert response.status_code == 201
    assert response.json() == {"id": 1, "name": "ann"}


def test_names_are_unique(client):
    assert client.post("/users", json={"name": "ann"}).status_code == 201
    assert client.post("/users", json={"name": "ann"}).status_code == 409


@pytest.mark.parametrize(("headers", "status"), [({}, 422), ({"X-User": "bob"}, 401)])
def test_strangers(client, headers, status):
    assert client.get("/bookmarks", headers=headers).status_code == status


def test_add_bookmarks(ann):
    response = ann.post("/bookmarks", json=[PYTHON, SQLALCHEMY])

    assert response.status_code == 201
    assert response.json() == [
        {"id": 1, "visits": 0, **PYTHON},
        {"id": 2, "visits": 0, **SQLALCHEMY},
    ]


def test_all_bookmarks_or_none(ann):
    ann.post("/bookmarks", json=[PYTHON])

    assert ann.post("/bookmarks", json=[SQLALCHEMY, PYTHON]).status_code == 409
    assert titles(ann) == ["Python"]


def test_too_many_bookmarks(ann, monkeypatch):
    monkeypatch.setattr(get_settings(), "max_bookmarks", 1)

    assert ann.post("/bookmarks", json=[PYTHON, SQLALCHEMY]).status_code == 403
    assert titles(ann) == []


@pytest.mark.parametrize(("q", "found"), [("", 2), ("py", 1), ("o", 1), ("ruby", 0)])
def test_search(ann, q, found):
    ann.post("/bookmarks", json=[PYTHON, SQLALCHEMY])

    assert len(titles(ann, q=q)) == found


class TestOneBookmark:
    @pytest.fixture(autouse=True)
    def bookmark(self, ann):
        ann.post("/bookmarks", json=[PYTHON])

    def test_visit(self, ann):
        ann.post("/bookmarks/1/visits")

        assert ann.post("/bookmarks/1/visits").json()["visits"] == 2

    def test_delete(self, ann):
        assert ann.delete("/bookmarks/1").status_code == 204
        assert ann.delete("/bookmarks/1").status_code == 404

    def test_not_yours(self, ann):
        app.dependency_overrides[current_user] = lambda: User(id=2, name="bob")
        try:
            assert ann.post("/bookmarks/1/visits").status_code == 404
            assert titles(ann) == []
        finally:
            app.dependency_overrides.clear()
