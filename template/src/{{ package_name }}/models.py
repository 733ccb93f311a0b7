"""The tables, as typed declarative models."""

from sqlalchemy import ForeignKey, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The base of every model. The naming convention lets migrations alter constraints by name."""

    # What the database sets, as by `onupdate=func.now()`, is read at once: an attribute that is
    # read later cannot await it.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Review(Base):
    """What somebody thinks of an item; it goes with the item."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("item_id", "author"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    author: Mapped[str] = mapped_column(String(100))
    stars: Mapped[int]


class Item(Base):
    """The example resource."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str | None] = mapped_column(String(1000))

    # `raise`: who needs them loads them (`selectinload`); attributes cannot await the database.
    reviews: Mapped[list[Review]] = relationship(
        order_by=Review.id, lazy="raise", passive_deletes="all"
    )


class AuditEntry(Base):
    """What happened to which item; written after the response, by a session of its own."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(String(20))
    item_name: Mapped[str] = mapped_column(String(100))
