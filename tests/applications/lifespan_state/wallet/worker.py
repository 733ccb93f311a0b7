"""Writes receipts in the background, so that nobody waits for them."""

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from .models import Account, Receipt, Transfer

log = logging.getLogger(__name__)


async def write_receipt(session: AsyncSession, transfer_id: int) -> None:
    transfer = await session.get_one(Transfer, transfer_id)
    sender = await session.get_one(Account, transfer.sender_id)
    recipient = await session.get_one(Account, transfer.recipient_id)
    text = f"{sender.owner} paid {transfer.amount} to {recipient.owner}"
    session.add(Receipt(transfer_id=transfer.id, text=text))


async def write_receipts(
    queue: asyncio.Queue[int], session_factory: async_sessionmaker[AsyncSession]
) -> None:
    while True:
        transfer_id = await queue.get()
        try:
            async with session_factory.begin() as session:
                await write_receipt(session, transfer_id)
        except Exception:
            log.exception("no receipt for transfer %d", transfer_id)
        finally:
            queue.task_done()
