from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from helpdesk.database import db
from helpdesk.models import Comment, Project, Status, Ticket

router = APIRouter(prefix="/api")


async def find_project(session: AsyncSession, key: str) -> Project:
    project = await session.scalar(select(Project).where(Project.key == key))
    if project is None:
        raise HTTPException(404, f"Project {key} not found")
    return project


async def find_ticket(session: AsyncSession, ticket_id: int) -> Ticket:
    ticket = await session.get(Ticket, ticket_id)
    if ticket is None:
        raise HTTPException(404, f"Ticket {ticket_id} not found")
    return ticket


@router.post("/projects", status_code=201)
async def create_project(key: Annotated[str, Body(embed=True, max_length=10)]) -> dict[str, Any]:
    try:
        async with db.session() as session:
            project = Project(key=key)
            session.add(project)
    except IntegrityError:
        raise HTTPException(409, f"Project {key} exists") from None
    return {"id": project.id, "key": project.key}


@router.get("/projects")
async def list_projects() -> list[dict[str, Any]]:
    query = (
        select(Project.key, func.count(Ticket.id).label("tickets"))
        .outerjoin(Project.tickets)
        .group_by(Project.key)
        .order_by(Project.key)
    )
    async with db.session() as session:
        return [dict(row) for row in (await session.execute(query)).mappings()]


@router.post("/projects/{key}/tickets", status_code=201)
async def create_ticket(key: str, title: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    async with db.session() as session:
        ticket = Ticket(title=title, project=await find_project(session, key))
        session.add(ticket)
    return {"id": ticket.id, "title": ticket.title, "status": ticket.status}


@router.get("/tickets/{ticket_id}")
async def get_ticket(ticket_id: int) -> dict[str, Any]:
    async with db.session() as session:
        ticket = await find_ticket(session, ticket_id)
        comments = [comment.body for comment in await ticket.awaitable_attrs.comments]
    return {"title": ticket.title, "status": ticket.status, "comments": comments}


@router.post("/tickets/{ticket_id}/comments", status_code=201)
async def add_comment(ticket_id: int, body: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    async with db.session() as session:
        ticket = await find_ticket(session, ticket_id)
        if ticket.status is Status.CLOSED:
            raise HTTPException(409, "The ticket is closed")
        comment = Comment(ticket_id=ticket.id, body=body)
        session.add(comment)
    return {"id": comment.id}


@router.post("/tickets/close")
async def close_tickets(
    ids: Annotated[list[int], Body()], reason: Annotated[str | None, Body()] = None
) -> dict[str, int]:
    """Close all of these tickets, or none of them if one cannot be closed."""
    async with db.session() as session:
        for ticket_id in ids:
            ticket = await find_ticket(session, ticket_id)
            if ticket.status is Status.CLOSED:
                raise HTTPException(409, f"Ticket {ticket_id} is closed")
            ticket.status = Status.CLOSED
            if reason:
                session.add(Comment(ticket_id=ticket.id, body=reason))
            await session.flush()
    return {"closed": len(ids)}
