"""What cron runs each night: python -m metering.jobs"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from metering.models import Day, Reading
from metering.sync_db import SessionLocal

log = logging.getLogger(__name__)


def sum_up(session: Session) -> int:
    """Keep the highest reading of each day."""
    day = func.date(Reading.at)
    rows = session.execute(
        select(Reading.meter_id, func.min(Reading.at), func.max(Reading.value)).group_by(
            Reading.meter_id, day
        )
    ).all()
    for meter_id, first, maximum in rows:
        session.merge(Day(meter_id=meter_id, day=first.date(), maximum=maximum))
    return len(rows)


def nightly(now: datetime | None = None, keep: timedelta = timedelta(days=90)) -> None:
    with SessionLocal.begin() as session:
        days = sum_up(session)
        old = (now or datetime.now()) - keep
        deleted = session.execute(delete(Reading).where(Reading.at < old)).rowcount
    log.info("summed up %d days, deleted %d readings", days, deleted)


if __name__ == "__main__":
    nightly()
