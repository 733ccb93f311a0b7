from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import BaseModel, ConfigDict, HttpUrl
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bookmarks.config import get_settings
from bookmarks.database import get_session
from bookmarks.models import Bookmark, User

router = APIRouter()


async def current_user(
    x_user: Annotated[str, Header()], session: AsyncSession = Depends(get_session)
) -> User:
    user = await session.scalar(select(User).where(User.name == x_user))
    if user is None:
        raise HTTPException(401, "Who are you?")
    return user


class UserData(BaseModel):
    name: str


class BookmarkData(BaseModel):
    url: HttpUrl
    title: str = ""


class BookmarkOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    url: str
    title: str
    visits: int


async def save(session: AsyncSession, item: Bookmark | User, message: str) -> None:
    session.add(item)
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409, message) from None


@router.post("/users", status_code=201)
async def create_user(data: UserData, session: AsyncSession = Depends(get_session)):
    user = User(name=data.name)
    await save(session, user, "This name is taken")
    return {"id": user.id, "name": user.name}


@router.post("/bookmarks", status_code=201, response_model=list[BookmarkOut])
async def add_bookmarks(
    data: list[BookmarkData],
    user: User = Depends(current_user),
    session: AsyncSession = Depends(get_session),
):
    bookmarks = []
    for item in data:
        bookmark = Bookmark(user_id=user.id, url=str(item.url), title=item.title)
        await save(session, bookmark, f"You have {item.url} already")
        bookmarks.append(bookmark)
    total = await session.scalar(select(func.count()).where(Bookmark.user_id == user.id))
    if total > get_settings().max_bookmarks:
        raise HTTPException(403, "You have too many bookmarks")
    return bookmarks


@router.get("/bookmarks", response_model=list[BookmarkOut])
async def list_bookmarks(
    q: str = "",
    user: User = Depends(current_user),
    session: AsyncSession = Depends(get_session),
):
    query = select(Bookmark).where(Bookmark.user_id == user.id, Bookmark.title.icontains(q))
    return (await session.scalars(query.order_by(Bookmark.id))).all()


@router.post("/bookmarks/{bookmark_id}/visits", response_model=BookmarkOut)
async def visit_bookmark(
    bookmark_id: int,
    user: User = Depends(current_user),
    session: AsyncSession = Depends(get_session),
):
    bookmark = await session.scalar(
        update(Bookmark)
        .where(Bookmark.id == bookmark_id, Bookmark.user_id == user.id)
        .values(visits=Bookmark.visits + 1)
        .returning(Bookmark)
    )
    if bookmark is None:
        raise HTTPException(404, "No such bookmark")
    return bookmark


@router.delete("/bookmarks/{bookmark_id}", status_code=204)
async def delete_bookmark(
    bookmark_id: int,
    user: User = Depends(current_user),
    session: AsyncSession = Depends(get_session),
):
    bookmark = await session.get(Bookmark, bookmark_id)
    if bookmark is None or bookmark.user_id != user.id:
        raise HTTPException(404, "No such bookmark")
    await session.delete(bookmark)
