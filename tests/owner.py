"""What the owner of a project does with it in its first year."""

from pathlib import Path

from .generated import GeneratedProject
from .pythons import UV

PACKAGES = (
    *("tenacity", "orjson", "pyjwt", "redis", "stripe", "boto3", "sentry-sdk"),
    *("beautifulsoup4", "python-slugify"),
)

MODEL = '''

class Customer(Base):
    """Who buys."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
'''

ENDPOINTS = '''
"""Who buys."""

from fastapi import APIRouter
from sqlalchemy import select

from .database import SessionDep
from .models import Customer

router = APIRouter(prefix="/customers")


@router.post("")
async def create(session: SessionDep, name: str) -> dict[str, str]:
    session.add(Customer(name=name))
    await session.commit()
    return {"name": name}


@router.get("")
async def names(session: SessionDep) -> list[str]:
    return [*await session.scalars(select(Customer.name).order_by(Customer.name))]
'''

MIGRATION = '''
"""Customers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.UniqueConstraint("name", name="uq_customers_name"),
    )


def downgrade() -> None:
    op.drop_table("customers")
'''

FIXTURE = """
import pytest
from my_app.models import Customer
from sqlalchemy.ext.asyncio import AsyncSession


@pytest.fixture
async def ann(session: AsyncSession) -> Customer:
    customer = Customer(name="Ann")
    session.add(customer)
    await session.commit()
    return customer
"""

TESTS = """
import httpx2
import pytest
from my_app.models import Customer
from sqlalchemy.exc import IntegrityError


async def test_names(client: httpx2.AsyncClient, ann: Customer) -> None:
    await client.post("/customers", params={"name": "Bob"})
    assert (await client.get("/customers")).json() == ["Ann", "Bob"]


@pytest.mark.slow
async def test_a_name_that_is_taken(client: httpx2.AsyncClient, ann: Customer) -> None:
    with pytest.raises(IntegrityError):
        await client.post("/customers", params={"name": "Ann"})
    assert (await client.get("/customers")).json() == ["Ann"]
"""

README = """# The shop

Sells chairs. Ask Ann before you deploy.
"""


def live_in(project: GeneratedProject) -> None:
    """Replace the example by a resource of one's own, add packages, and make oneself at home."""
    delete_the_example(project.path)
    write(project.path / "src/my_app/customers.py", ENDPOINTS)
    write(project.path / "migrations/versions/0001_customers.py", MIGRATION)
    write(project.path / "tests/test_customers.py", TESTS)
    write(project.path / "README.md", README)
    append(project.path / "src/my_app/models.py", MODEL)
    append(project.path / "tests/conftest.py", FIXTURE)
    append(project.path / ".env.example", "SECRET_KEY=guess\n")
    append(project.path / ".gitignore", ".idea/\n")
    for package in PACKAGES:
        project.run(UV, "add", "--quiet", "--no-sync", package)
    project.run(UV, "add", "--quiet", "--no-sync", "--dev", "factory-boy")
    pyproject = project.path / "pyproject.toml"
    replace(pyproject, 'version = "0.1.0"', 'version = "1.4.2"')
    replace(
        pyproject,
        'filterwarnings = ["error"]\n',
        'filterwarnings = ["error"]\nmarkers = ["slow: takes its time"]\n',
    )
    replace(pyproject, "line-length = 100", "line-length = 120")
    project.run("ruff", "format", "--quiet", "--no-cache")
    project.run("ruff", "check", "--fix", "--quiet", "--no-cache")


def delete_the_example(path: Path) -> None:
    """Do what the README says of it, while its migration is the only one."""
    delete_the_code_of_the_example(path)
    (path / "migrations/versions/0001_items.py").unlink()
    main = path / "src/my_app/main.py"
    replace(main, "import health", "import customers, health")
    replace(main, "(health.router)", "(health.router)\n    app.include_router(customers.router)")


def delete_the_code_of_the_example(path: Path) -> None:
    """Do what the README says of it, but for its tables."""
    for name in ("items", "reviews"):
        (path / f"src/my_app/{name}.py").unlink()
        (path / f"tests/test_{name}.py").unlink()
        main = path / "src/my_app/main.py"
        replace(main, f", {name}", "")
        replace(main, f"    app.include_router({name}.router)\n", "")
    models = path / "src/my_app/models.py"
    models.write_text(models.read_text().partition("\n\nclass Review(Base)")[0])


def drop_the_tables_of_the_example(path: Path, after: str) -> None:
    """Do what the README says where migrations have followed; `after` is the last one."""
    first = (path / "migrations/versions/0001_items.py").read_text()
    text = first.replace("def upgrade", "def up").replace("def downgrade", "def upgrade")
    text = text.replace("def up()", "def downgrade()").replace("Revises:", f"Revises: {after}")
    text = text.replace('"0001"', '"last"').replace("= None", f'= "{after}"', 1)
    (path / "migrations/versions/drop_the_example.py").write_text(text)


def write(file: Path, content: str) -> None:
    file.write_text(content.removeprefix("\n"))


def append(file: Path, content: str) -> None:
    file.write_text(file.read_text() + content)


def replace(file: Path, old: str, new: str) -> None:
    """Replace the one `old` in `file`."""
    content = file.read_text()
    assert content.count(old) == 1, f"{file}: {old}"
    file.write_text(content.replace(old, new))
