"""loans

Revision ID: a05e44d2c7b8
Revises: 3f1c9a7be021
Create Date: 2024-05-02 16:40:08.551377
"""

import sqlalchemy as sa
from alembic import op

revision = "a05e44d2c7b8"
down_revision = "3f1c9a7be021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "loans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("book_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=200), nullable=False),
        sa.Column("due", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_loans_book_id_books")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loans")),
        sa.UniqueConstraint("book_id", name=op.f("uq_loans_book_id")),
    )


def downgrade() -> None:
    op.drop_table("loans")
