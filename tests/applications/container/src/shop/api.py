from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

from dependency_injector.wiring import Provide, inject
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from shop.containers import Container
from shop.models import Order, Product
from shop.services import Catalogue, Orders

router = APIRouter(prefix="/v1")

CatalogueDep = Annotated[Catalogue, Depends(Provide[Container.catalogue])]
OrdersDep = Annotated[Orders, Depends(Provide[Container.orders])]


class ProductData(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    sku: str = Field(pattern=r"^[A-Z0-9-]{1,32}$")
    name: str
    price: Decimal = Field(ge=0, decimal_places=2)
    stock: int = Field(default=0, ge=0)


class OrderIn(BaseModel):
    customer: str
    lines: dict[str, PositiveInt] = Field(min_length=1)


class OrderOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    total: Decimal


@router.post("/products", status_code=201, response_model=ProductData)
@inject
async def add_product(data: ProductData, catalogue: CatalogueDep) -> Product:
    return await catalogue.add(Product(**data.model_dump()))


@router.get("/products", response_model=list[ProductData])
@inject
async def list_products(catalogue: CatalogueDep) -> Sequence[Product]:
    return await catalogue.list()


@router.get("/products/{sku}", response_model=ProductData)
@inject
async def get_product(sku: str, catalogue: CatalogueDep) -> Product:
    return await catalogue.get(sku)


@router.post("/orders", status_code=201, response_model=OrderOut)
@inject
async def place_order(data: OrderIn, orders: OrdersDep) -> Order:
    return await orders.place(data.customer, data.lines)


@router.get("/orders", response_model=list[OrderOut])
@inject
async def list_orders(customer: str, orders: OrdersDep) -> Sequence[Order]:
    return await orders.of_customer(customer)


@router.delete("/orders/{order_id}", status_code=204)
@inject
async def cancel_order(order_id: int, orders: OrdersDep) -> None:
    await orders.cancel(order_id)
