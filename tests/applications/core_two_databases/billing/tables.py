from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
)

main_metadata = MetaData()
audit_metadata = MetaData()

customers = Table(
    "customers",
    main_metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("credit", Integer, nullable=False),
)

invoices = Table(
    "invoices",
    main_metadata,
    Column("id", Integer, primary_key=True),
    Column("customer_id", ForeignKey("customers.id"), nullable=False, index=True),
    Column("paid_at", DateTime(timezone=True)),
)

lines = Table(
    "invoice_lines",
    main_metadata,
    Column("invoice_id", ForeignKey("invoices.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("amount", Integer, nullable=False),
    UniqueConstraint("invoice_id", "text"),
)

events = Table(
    "events",
    audit_metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("kind", String(30), nullable=False, index=True),
    Column("details", Text, nullable=False),
)
