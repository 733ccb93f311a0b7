from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, NaiveDatetime
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from metering.db import get_db
from metering.models import Meter, Reading

router = APIRouter(prefix="/meters")

Db = Annotated[AsyncSession, Depends(get_db)]


class NewMeter(BaseModel):
    serial: str


class ReadingData(BaseModel):
    at: NaiveDatetime
    value: float


async def find_meter(serial: str, db: Db) -> Meter:
    meter = await db.scalar(select(Meter).where(Meter.serial == serial))
    if meter is None:
        raise HTTPException(404, "unknown meter")
    return meter


Found = Annotated[Meter, Depends(find_meter)]


@router.post("", status_code=201)
async def register(new: NewMeter, db: Db) -> NewMeter:
    db.add(Meter(serial=new.serial))
    try:
        await db.commit()
    except IntegrityError:
        raise HTTPException(409, "meter is registered") from None
    return new


@router.get("")
async def list_meters(db: Db) -> list[str]:
    return list(await db.scalars(select(Meter.serial).order_by(Meter.serial)))


@router.post("/{serial}/readings", status_code=201)
async def send_readings(readings: list[ReadingData], meter: Found, db: Db) -> None:
    """Store what a meter sends, unless one of its readings is lower than the one before."""
    for reading in sorted(readings, key=lambda reading: reading.at):
        before = select(Reading.value).where(Reading.meter_id == meter.id, Reading.at < reading.at)
        last = await db.scalar(before.order_by(Reading.at.desc()).limit(1))
        if last is not None and last > reading.value:
            raise HTTPException(422, f"{reading.value} at {reading.at} is lower than {last}")
        db.add(Reading(meter_id=meter.id, at=reading.at, value=reading.value))
        await db.flush()
    await db.commit()


@router.get("/{serial}/readings")
async def list_readings(meter: Found, db: Db, since: datetime | None = None) -> list[ReadingData]:
    query = select(Reading).where(Reading.meter_id == meter.id).order_by(Reading.at)
    if since is not None:
        query = query.where(Reading.at >= since)
    return [ReadingData(at=row.at, value=row.value) for row in await db.scalars(query)]
