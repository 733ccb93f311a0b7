import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, Field, PositiveInt, model_validator
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from .models import Account, Receipt, Transfer

router = APIRouter()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.session_factory() as session:
        yield session


def get_receipts(request: Request) -> asyncio.Queue[int]:
    return request.app.state.receipts


Session = Annotated[AsyncSession, Depends(get_session)]
Receipts = Annotated[asyncio.Queue[int], Depends(get_receipts)]


class NewAccount(BaseModel):
    owner: str = Field(min_length=1)
    balance: int = Field(default=0, ge=0)


class NewTransfer(BaseModel):
    sender: str
    recipient: str
    amount: PositiveInt

    @model_validator(mode="after")
    def check_recipient(self) -> Self:
        if self.sender == self.recipient:
            raise ValueError("nobody pays to themselves")
        return self


@router.post("/accounts", status_code=201)
async def open_account(new: NewAccount, session: Session) -> dict[str, Any]:
    account = Account(owner=new.owner, balance=new.balance)
    try:
        async with session.begin():
            session.add(account)
    except IntegrityError as error:
        raise HTTPException(409, f"{new.owner} has an account") from error
    return {"id": account.id, "owner": account.owner, "balance": account.balance}


@router.get("/accounts")
async def list_accounts(session: Session) -> dict[str, int]:
    rows = await session.execute(select(Account.owner, Account.balance).order_by(Account.owner))
    return {row.owner: row.balance for row in rows}


@router.get("/accounts/{owner}")
async def get_account(owner: str, session: Session) -> dict[str, Any]:
    account = await session.scalar(select(Account).where(Account.owner == owner))
    if account is None:
        raise HTTPException(404, f"{owner} has no account")
    sent = select(func.count()).where(Transfer.sender_id == account.id)
    return {"balance": account.balance, "sent": await session.scalar(sent)}


def is_conflict(error: DBAPIError) -> bool:
    """Say whether somebody else was faster: PostgreSQL's error 40001, or a locked SQLite."""
    return getattr(error.orig, "sqlstate", "") == "40001" or "is locked" in str(error.orig)


async def book(session: AsyncSession, owner: str, amount: int) -> int:
    statement = update(Account).where(Account.owner == owner).returning(Account.id)
    account_id = await session.scalar(statement.values(balance=Account.balance + amount))
    if account_id is None:
        raise HTTPException(404, f"{owner} has no account")
    return account_id


@router.post("/transfers", status_code=201)
async def transfer_money(
    new: NewTransfer, session: Session, receipts: Receipts, request: Request
) -> dict[str, Any]:
    if new.amount > request.app.state.settings.max_transfer:
        raise HTTPException(422, "The amount is too high")
    bookings = {new.sender: -new.amount, new.recipient: new.amount}
    try:
        async with session.begin():
            # Always in the same order: two transfers that wait for each other are a deadlock.
            ids = {owner: await book(session, owner, bookings[owner]) for owner in sorted(bookings)}
            transfer = Transfer(
                sender_id=ids[new.sender], recipient_id=ids[new.recipient], amount=new.amount
            )
            session.add(transfer)
    except IntegrityError as error:
        raise HTTPException(409, f"{new.sender} has less than {new.amount}") from error
    except DBAPIError as error:
        if not is_conflict(error):
            raise
        raise HTTPException(503, "Try again", headers={"Retry-After": "1"}) from error
    receipts.put_nowait(transfer.id)
    return {"id": transfer.id}


@router.get("/receipts")
async def list_receipts(session: Session) -> list[str]:
    return list(await session.scalars(select(Receipt.text).order_by(Receipt.id)))
