"""The example resource, `/items`. Delete this file once you have one of your own."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, HTTPException, Path, Query, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from .database import SessionDep, session_factory
from .models import AuditEntry, Item

router = APIRouter(prefix="/items", tags=["items"])

MAX_INTEGER = 2**31 - 1  # of the column; a larger number would be a server error, not a 422

ItemId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # databases refuse NUL
Name = Annotated[Text, Field(min_length=1, max_length=100)]
Description = Annotated[Text, Field(max_length=1000)] | None


class ItemCreate(BaseModel):
    """The body of `POST /items`."""

    name: Name
    description: Description = None


class ItemUpdate(BaseModel):
    """The body of `PATCH /items/{id}`: only the fields that are given change."""

    name: Name = ""  # never used: what is not given does not change; and null is refused
    description: Description = None


class ItemRead(BaseModel):
    """An item, as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str | None


async def write_audit_entry(action: str, item_name: str) -> None:
    """Record `action`. It runs after the response, when the session of the request may be gone."""
    async with session_factory.begin() as session:
        session.add(AuditEntry(action=action, item_name=item_name))


async def commit_or_conflict(session: AsyncSession) -> None:
    """Commit before the response is sent, so that 201 means stored; 409 if the name is taken."""
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        raise HTTPException(status.HTTP_409_CONFLICT, "name is taken") from error


async def get_item_or_404(session: AsyncSession, item_id: int) -> Item:
    """Return the item, or answer 404."""
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such item")
    return item


@router.post("", status_code=status.HTTP_201_CREATED, response_model=ItemRead)
async def create_item(body: ItemCreate, session: SessionDep, background: BackgroundTasks) -> Item:
    """Create an item; 409 if the name is taken."""
    item = Item(**body.model_dump())
    session.add(item)
    await commit_or_conflict(session)
    background.add_task(write_audit_entry, "created", item.name)
    return item


@router.get("", response_model=list[ItemRead])
async def list_items(
    session: SessionDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
) -> Sequence[Item]:
    """List items in the order of their creation."""
    statement = select(Item).order_by(Item.id).limit(limit).offset(offset)
    return (await session.scalars(statement)).all()


@router.get("/{item_id}", response_model=ItemRead)
async def read_item(item_id: ItemId, session: SessionDep) -> Item:
    """Read one item."""
    return await get_item_or_404(session, item_id)


@router.patch("/{item_id}", response_model=ItemRead)
async def update_item(item_id: ItemId, body: ItemUpdate, session: SessionDep) -> Item:
    """Change the given fields of an item; 409 if the new name is taken."""
    item = await get_item_or_404(session, item_id)
    for field, value in body.model_dump(exclude_unset=True).items():
        setattr(item, field, value)
    await commit_or_conflict(session)
    return item


@router.delete("/{item_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_item(item_id: ItemId, session: SessionDep) -> None:
    """Delete an item."""
    await session.delete(await get_item_or_404(session, item_id))
    await session.commit()
