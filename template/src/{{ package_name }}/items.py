"""The example resource, `/items`. Delete this file once you have one of your own."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Query, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.interfaces import ORMOption

from .database import SessionDep, session_factory
from .errors import conflict, problems
from .fields import BODY, Id, Text
from .models import AuditEntry, Item

router = APIRouter(prefix="/items", tags=["items"])


class ItemWrite(BaseModel):
    """The body of requests that create or replace an item."""

    model_config = BODY

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    description: Annotated[Text, Field(max_length=1000)] | None = None


class ItemRead(BaseModel):
    """An item, as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str | None


class ReviewRead(BaseModel):
    """A review, as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    author: str
    stars: int


class ItemWithReviews(ItemRead):
    """An item and what people think of it."""

    reviews: list[ReviewRead]


async def find_item(session: AsyncSession, item_id: int, *options: ORMOption) -> Item:
    """Return the item, with what `options` load, or answer 404."""
    item = await session.scalar(select(Item).where(Item.id == item_id).options(*options))
    if item is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such item")
    return item


async def get_item(item_id: Id, session: SessionDep) -> Item:
    """Return the item of the path, or answer 404."""
    return await find_item(session, item_id)


ItemDep = Annotated[Item, Depends(get_item)]


async def write_audit_entry(action: str, item_name: str) -> None:
    """Record `action`, after the response, when the session of the request is gone.

    What must not be lost if the process ends before belongs into the transaction of the request.
    """
    async with session_factory.begin() as session:
        session.add(AuditEntry(action=action, item_name=item_name))


@router.post(
    "", status_code=status.HTTP_201_CREATED, response_model=ItemRead, responses=problems(409)
)
async def create_item(body: ItemWrite, session: SessionDep, background: BackgroundTasks) -> Item:
    """Create an item; 409 if the name is taken."""
    item = Item(**body.model_dump())
    session.add(item)
    with conflict("name is taken"):
        await session.commit()  # before the response is sent: 201 means stored
    background.add_task(write_audit_entry, "created", item.name)
    return item


@router.get("", response_model=list[ItemRead])
async def list_items(
    session: SessionDep,
    after: Annotated[
        Id | None, Query(description="The id of the last item of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Sequence[Item]:
    """List items in the order of their creation, a page at a time."""
    # Not by OFFSET: the database would read all that it skips, and what is deleted meanwhile
    # would let items be missed.
    statement = select(Item).where(Item.id > (after or 0)).order_by(Item.id).limit(limit)
    return (await session.scalars(statement)).all()


@router.get("/{item_id}", response_model=ItemWithReviews, responses=problems(404))
async def read_item(item_id: Id, session: SessionDep) -> Item:
    """Read one item with its reviews."""
    # Loaded here: when the response is made of the item, nobody can await the database. To load
    # them then would fail: here by `lazy="raise"`, else by `MissingGreenlet`.
    return await find_item(session, item_id, selectinload(Item.reviews))


@router.put("/{item_id}", response_model=ItemRead, responses=problems(404, 409))
async def replace_item(item: ItemDep, body: ItemWrite, session: SessionDep) -> Item:
    """Replace an item; 409 if the new name is taken."""
    item.name, item.description = body.name, body.description
    with conflict("name is taken"):
        await session.commit()
    return item


@router.delete("/{item_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
async def delete_item(item: ItemDep, session: SessionDep) -> None:
    """Delete an item and its reviews."""
    # Not by `session.delete`, which expects a row: another request may have deleted it by now.
    await session.execute(delete(Item).where(Item.id == item.id))
    await session.commit()
