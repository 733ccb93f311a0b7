import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from shop.models import Order, OrderLine, Product

log = logging.getLogger(__name__)


class ShopError(Exception):
    status = 400


class NotFound(ShopError):
    status = 404


class Conflict(ShopError):
    status = 409


class PaymentDeclined(ShopError):
    status = 402


class Payments:
    async def charge(self, customer: str, amount: Decimal) -> None:
        log.info("charged %s to %s", amount, customer)


class Catalogue:
    def __init__(self, session_factory: async_sessionmaker[AsyncSession]) -> None:
        self._session_factory = session_factory

    async def add(self, product: Product) -> Product:
        try:
            async with self._session_factory.begin() as session:
                session.add(product)
        except IntegrityError as error:
            raise Conflict(f"{product.sku} is in the catalogue") from error
        return product

    async def list(self) -> Sequence[Product]:
        async with self._session_factory() as session:
            return (await session.scalars(select(Product).order_by(Product.sku))).all()

    async def get(self, sku: str) -> Product:
        async with self._session_factory() as session:
            product = await session.get(Product, sku)
        if product is None:
            raise NotFound(f"{sku} is not in the catalogue")
        return product


class Orders:
    def __init__(
        self, session_factory: async_sessionmaker[AsyncSession], payments: Payments
    ) -> None:
        self._session_factory = session_factory
        self._payments = payments

    async def place(self, customer: str, quantities: Mapping[str, int]) -> Order:
        """Take the products from the stock and charge the customer, or do neither."""
        async with self._session_factory.begin() as session:
            order = Order(customer=customer, total=Decimal(0), lines=[])
            session.add(order)
            await session.flush()
            for sku, quantity in sorted(quantities.items()):
                product = await session.get(Product, sku, with_for_update=True)
                if product is None:
                    raise NotFound(f"{sku} is not in the catalogue")
                if product.stock < quantity:
                    raise Conflict(f"There are {product.stock} left of {sku}")
                product.stock -= quantity
                order.lines.append(OrderLine(sku=sku, quantity=quantity))
                order.total += product.price * quantity
            await self._payments.charge(customer, order.total)
        return order

    async def cancel(self, order_id: int) -> None:
        async with self._session_factory.begin() as session:
            order = await session.get(Order, order_id)
            if order is None:
                raise NotFound(f"There is no order {order_id}")
            for line in order.lines:
                restock = update(Product).where(Product.sku == line.sku)
                await session.execute(restock.values(stock=Product.stock + line.quantity))
            await session.delete(order)

    async def of_customer(self, customer: str) -> Sequence[Order]:
        async with self._session_factory() as session:
            query = select(Order).where(Order.customer == customer).order_by(Order.id)
            return (await session.scalars(query)).all()
