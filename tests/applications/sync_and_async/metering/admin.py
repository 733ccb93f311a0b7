import secrets
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Header, HTTPException
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from metering.config import ADMIN_TOKEN
from metering.jobs import nightly
from metering.models import Day, Meter, Reading
from metering.sync_db import get_sync_db


def require_admin(x_token: Annotated[str, Header()] = "") -> None:
    if not ADMIN_TOKEN or not secrets.compare_digest(x_token, ADMIN_TOKEN):
        raise HTTPException(403, "administrators only")


router = APIRouter(prefix="/admin", dependencies=[Depends(require_admin)])

SyncDb = Annotated[Session, Depends(get_sync_db)]


@router.get("/report")
def report(db: SyncDb) -> dict[str, int]:
    query = (
        select(Meter.serial, func.count(Reading.id))
        .outerjoin(Meter.readings)
        .group_by(Meter.serial)
    )
    return {row[0]: row[1] for row in db.execute(query)}


@router.get("/days")
def days(db: SyncDb) -> list[tuple[str, float]]:
    rows = db.execute(select(Day.day, func.sum(Day.maximum)).group_by(Day.day).order_by(Day.day))
    return [(day.isoformat(), total) for day, total in rows]


@router.post("/nightly", status_code=202)
def run_nightly(tasks: BackgroundTasks) -> None:
    tasks.add_task(nightly)


@router.delete("/meters/{serial}", status_code=204)
def remove_meter(serial: str, db: SyncDb) -> None:
    meter = db.scalar(select(Meter).where(Meter.serial == serial))
    if meter is None:
        raise HTTPException(404, "unknown meter")
    db.delete(meter)
    db.commit()
