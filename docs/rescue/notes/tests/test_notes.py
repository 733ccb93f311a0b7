import asyncio

from sqlalchemy import select

from app.models import Note


async def test_create(client, session):
    response = await client.post("/notes", params={"text": "milk"})
    assert response.status_code == 201
    assert await session.scalar(select(Note.text)) == "milk"


async def test_list(client, session):
    session.add_all([Note(text="milk"), Note(text="bread")])
    await session.commit()
    response = await client.get("/notes")
    assert response.json() == ["milk", "bread"]


async def test_nothing_to_list(client):
    response = await client.get("/notes")
    assert response.json() == []


async def test_two_at_once(client):
    requests = (client.post("/notes", params={"text": text}) for text in ("milk", "bread"))
    responses = await asyncio.gather(*requests)
    assert [response.status_code for response in responses] == [201, 201]
