"""What a test costs in the suites of applications that exist, and under the harness beside them.

    uv run python -m tests.benchmark_existing [driver ...]

For each application, the suites run in turn; a figure is the median of the runs. What a test costs
is the median of a run's tests, each with its fixtures. What a suite does once is in the whole run:
its own imports the application and makes tables, the harness imports it and clones a database.
"""

import statistics
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .existing import bring_harness, copy_application, developers_database
from .generated import GeneratedProject, copy_template
from .pythons import UV
from .test_existing import STYLES, Case, answers_of

RUNS: Final = 5
ISOLATIONS: Final = "reset", "savepoint"


class Cost(NamedTuple):
    """What a suite has cost."""

    test: float
    """Milliseconds a test."""
    run: float
    """Seconds for all, from the start of pytest to its end."""


def measure(project: GeneratedProject) -> Cost:
    """Run the suite of `project` once."""
    file = project.path / "results.xml"
    began = time.perf_counter()
    project.run(UV, "run", "--no-sync", "pytest", "-q", f"--junit-xml={file}")
    took = time.perf_counter() - began
    times = [float(case.attrib["time"]) for case in ET.parse(file).iter("testcase")]
    return Cost(1000 * statistics.median(times), took)


def databases_of(application: str, driver: str, databases: ExitStack) -> dict[str, str]:
    """Make databases as developers have, until `databases` ends; return variables for them."""
    style = STYLES[application]
    text = style.database_env.get(driver) or style.answers.get("database_env", "DATABASE_URL")
    variables = dict(variable.partition("=")[::2] for variable in text.split())
    url = ""
    for number, (name, value) in enumerate(variables.items()):
        if not url or not value:
            url = databases.enter_context(developers_database(driver, f"{application}_{number}"))
        address = urlsplit(url)
        parts = {
            "host": address.hostname,
            "port": address.port,
            "user": address.username,
            "password": "postgres",  # any: the server trusts
            "name": address.path.lstrip("/"),
        }
        variables[name] = value.format(url=url, **parts) if value else url
    return variables


def suites(template: Path, folder: Path, application: str, driver: str) -> list[GeneratedProject]:
    """Return the application with its own suite, and with those under the harness."""
    own = copy_application(application, folder / "own")
    style = STYLES[application]
    cases = [
        Case(application, driver, isolation, style.loop_scopes[0])
        for isolation in ISOLATIONS[: 1 + style.fits_savepoint]
    ]
    return [
        own,
        *(
            bring_harness(template, application, folder / case.isolation, **answers_of(case))
            for case in cases
        ),
    ]


def main(drivers: list[str]) -> None:
    """Print a table for each driver."""
    header = "".join(f"{name:>12}" for name in ("own", *ISOLATIONS))
    with TemporaryDirectory() as name:
        template = copy_template(Path(name, "template"))
        for driver in drivers:
            sys.stdout.write(f"\n{driver}: ms a test, s a run\n{'':20}{header}\n")
            for application in STYLES:
                projects = suites(template, Path(name, driver, application), application, driver)
                with ExitStack() as databases:
                    projects[0].variables.update(databases_of(application, driver, databases))
                    runs = [[measure(project) for project in projects] for _ in range(1 + RUNS)]
                costs = [
                    Cost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))
                    for costs in zip(*runs[1:], strict=True)  # the first prepares databases
                ]
                line = "".join(f"{cost.test:7.1f} {cost.run:4.1f}" for cost in costs)
                sys.stdout.write(f"{application:20}{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:] or ["asyncpg", "aiosqlite"])
