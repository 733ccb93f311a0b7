from collections.abc import Sequence

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from billing import audit
from billing.databases import main_engine
from billing.tables import customers, invoices, lines


class Missing(Exception):
    pass


class Refused(Exception):
    pass


async def add_customer(name: str, credit: int) -> int:
    statement = insert(customers).values(name=name, credit=credit).returning(customers.c.id)
    try:
        async with main_engine.begin() as connection:
            customer_id = await connection.scalar(statement)
    except IntegrityError as error:
        raise Refused(f"{name} is a customer") from error
    await audit.record("customer added", name)
    return customer_id


async def list_customers() -> Sequence[RowMapping]:
    due = func.coalesce(func.sum(lines.c.amount), 0).label("due")
    query = (
        select(customers.c.name, due)
        .outerjoin(
            invoices, (invoices.c.customer_id == customers.c.id) & invoices.c.paid_at.is_(None)
        )
        .outerjoin(lines)
        .group_by(customers.c.name)
        .order_by(customers.c.name)
    )
    async with main_engine.connect() as connection:
        return (await connection.execute(query)).mappings().all()


async def add_invoice(name: str, amounts: dict[str, int]) -> int:
    """Write an invoice, unless the customer has no credit left for one of its lines."""
    try:
        async with main_engine.begin() as connection:
            query = select(customers.c.id, customers.c.credit).where(customers.c.name == name)
            customer = (await connection.execute(query)).one_or_none()
            if customer is None:
                raise Missing(f"{name} is no customer")
            statement = insert(invoices).values(customer_id=customer.id)
            invoice_id = await connection.scalar(statement.returning(invoices.c.id))
            left = customer.credit
            for position, (text, amount) in enumerate(amounts.items(), start=1):
                left -= amount
                if left < 0:
                    raise Refused(f"{name} has no credit for {text}")
                await connection.execute(
                    insert(lines).values(
                        invoice_id=invoice_id, position=position, text=text, amount=amount
                    )
                )
    except Refused as error:
        await audit.record("invoice refused", str(error))
        raise
    await audit.record("invoice written", f"{invoice_id} for {name}")
    return invoice_id


async def get_invoice(invoice_id: int) -> dict[str, object]:
    query = (
        select(customers.c.name, invoices.c.paid_at)
        .join_from(invoices, customers)
        .where(invoices.c.id == invoice_id)
    )
    async with main_engine.connect() as connection:
        invoice = (await connection.execute(query)).one_or_none()
        if invoice is None:
            raise Missing(f"there is no invoice {invoice_id}")
        query = select(lines.c.text, lines.c.amount).where(lines.c.invoice_id == invoice_id)
        amounts = {row.text: row.amount for row in await connection.execute(query)}
    return {"customer": invoice.name, "paid": invoice.paid_at is not None, "lines": amounts}


async def pay_invoice(invoice_id: int) -> None:
    async with main_engine.begin() as connection:
        result = await connection.execute(
            update(invoices)
            .where(invoices.c.id == invoice_id, invoices.c.paid_at.is_(None))
            .values(paid_at=func.now())
        )
    if result.rowcount == 0:
        raise Refused(f"there is no unpaid invoice {invoice_id}")
    await audit.record("invoice paid", str(invoice_id))
