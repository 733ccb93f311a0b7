"""status and comments

Revision ID: 0002
Revises: 0001
Create Date: 2025-02-03 10:47:29.663074
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

status = sa.Enum("OPEN", "CLOSED", name="status", native_enum=False)


def upgrade() -> None:
    with op.batch_alter_table("tickets") as batch_op:
        batch_op.add_column(sa.Column("status", status, nullable=False, server_default="OPEN"))
    with op.batch_alter_table("tickets") as batch_op:
        batch_op.alter_column("status", existing_type=status, server_default=None)
    op.create_table(
        "comments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "ticket_id",
            sa.Integer(),
            sa.ForeignKey("tickets.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("body", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("comments")
    with op.batch_alter_table("tickets") as batch_op:
        batch_op.drop_column("status")
