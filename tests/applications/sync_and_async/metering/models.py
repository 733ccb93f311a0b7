from datetime import date, datetime

from sqlalchemy import Double, ForeignKey, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Meter(Base):
    __tablename__ = "meters"

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[str] = mapped_column(unique=True)
    readings: Mapped[list["Reading"]] = relationship(
        back_populates="meter", cascade="all, delete-orphan"
    )
    days: Mapped[list["Day"]] = relationship(cascade="all, delete-orphan")


class Reading(Base):
    __tablename__ = "readings"
    __table_args__ = (UniqueConstraint("meter_id", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    meter_id: Mapped[int] = mapped_column(ForeignKey("meters.id"))
    at: Mapped[datetime]
    value: Mapped[float] = mapped_column(Double)
    meter: Mapped[Meter] = relationship(back_populates="readings")


class Day(Base):
    __tablename__ = "days"

    meter_id: Mapped[int] = mapped_column(ForeignKey("meters.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    maximum: Mapped[float] = mapped_column(Double)
