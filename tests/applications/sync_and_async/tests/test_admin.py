from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from metering.jobs import nightly
from metering.main import app
from metering.models import Day, Meter, Reading


@pytest.fixture
def readings(sync_session: Session, meter: Meter) -> None:
    start = datetime(2024, 3, 1, 6)
    for hours, value in ((0, 10.5), (12, 12.0), (24, 15.5)):
        meter.readings.append(Reading(at=start + timedelta(hours=hours), value=value))
    sync_session.commit()


def test_admins_only() -> None:
    assert TestClient(app).get("/admin/report").status_code == 403


@pytest.mark.usefixtures("readings")
class TestReports:
    def test_report(self, admin: TestClient, sync_session: Session) -> None:
        sync_session.add(Meter(serial="M-2"))
        sync_session.commit()

        assert admin.get("/admin/report").json() == {"M-1": 3, "M-2": 0}

    def test_days(self, admin: TestClient) -> None:
        assert admin.get("/admin/days").json() == []
        assert admin.post("/admin/nightly").status_code == 202
        assert admin.get("/admin/days").json() == [["2024-03-01", 12.0], ["2024-03-02", 15.5]]

    @pytest.mark.asyncio(loop_scope="session")
    async def test_both_sides_see_the_same(self, client: AsyncClient, admin: TestClient) -> None:
        late = [{"at": "2024-03-05T00:00:00", "value": 20.0}]
        await client.post("/meters/M-1/readings", json=late)

        assert (await client.get("/admin/report")).json() == {"M-1": 4}


@pytest.mark.usefixtures("readings")
def test_nightly(sync_session: Session) -> None:
    nightly(now=datetime(2024, 3, 11, 12), keep=timedelta(days=10))
    nightly(now=datetime(2024, 3, 11, 12), keep=timedelta(days=10))

    assert list(sync_session.scalars(select(Day.maximum).order_by(Day.day))) == [12.0, 15.5]
    assert list(sync_session.scalars(select(Reading.value))) == [12.0, 15.5]


@pytest.mark.usefixtures("readings")
def test_remove_meter(admin: TestClient, sync_session: Session) -> None:
    assert admin.delete("/admin/meters/M-1").status_code == 204
    assert admin.delete("/admin/meters/M-1").status_code == 404
    assert sync_session.scalars(select(Reading)).all() == []
