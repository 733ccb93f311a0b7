"""The example's second resource, `/items/{item_id}/reviews`. Delete it together with the first."""

from typing import Annotated

from fastapi import APIRouter, status
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from .database import SessionDep
from .errors import conflict, problems
from .fields import BODY, NUMBER, Text
from .items import ItemDep, ReviewRead
from .models import Review

router = APIRouter(
    prefix="/items/{item_id}/reviews",
    tags=["reviews"],
    responses=problems(status.HTTP_404_NOT_FOUND),
)


class ReviewCreate(BaseModel):
    """The body of `POST /items/{item_id}/reviews`."""

    model_config = BODY

    author: Annotated[Text, Field(min_length=1, max_length=100)]
    stars: Annotated[int, Field(ge=1, le=5), NUMBER]


class Rating(BaseModel):
    """What all reviews of an item say together."""

    count: int
    average: float | None


async def rate(session: AsyncSession, item_id: int) -> Rating:
    """Sum up the reviews of an item. It knows nothing of HTTP, so a test needs no client."""
    statement = select(func.count(), func.avg(Review.stars)).where(Review.item_id == item_id)
    count, average = (await session.execute(statement)).one()
    return Rating(count=count, average=average)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ReviewRead,
    responses=problems(status.HTTP_409_CONFLICT),
)
async def create_review(item: ItemDep, body: ReviewCreate, session: SessionDep) -> Review:
    """Review an item; 409 if the author has done so before."""
    review = Review(item_id=item.id, **body.model_dump())
    session.add(review)
    with conflict("the author has reviewed it before, or it has just been deleted"):
        await session.commit()
    return review


@router.get("/rating")
async def read_rating(item: ItemDep, session: SessionDep) -> Rating:
    """Read what all reviews say together."""
    return await rate(session, item.id)
