"""What migrations use of the project: modules that they import, files and folders that they read.

What that is can be told when they have run. It is recorded then, and looked at before later runs.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import resolve_name, source_from_cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENT: Final = Path(sys.prefix).resolve()
RECORDS: Final = Path(__file__).parent / "__pycache__"

opened: set[Path] = set()
"""What has been read since the harness was loaded, but for Python: a module may have read, when
it was imported, what a migration takes from it."""
is_making_schema = False


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what is opened. https://docs.python.org/3/library/audit_events.html"""
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or flags & os.O_WRONLY:
            return
    elif is_making_schema and event in ("os.listdir", "os.scandir"):
        (path,) = arguments
        if isinstance(path, int) or sys._getframe(1).f_code.co_filename.startswith("<frozen"):
            return  # an import looks for its module
    else:
        return
    name = os.fsdecode(path or ".")
    if is_making_schema or not name.endswith((".py", ".pyc")):
        file = source(os.path.realpath(name))
        if is_of_project(file):
            opened.add(file)


sys.addaudithook(note)


@contextmanager
def noted() -> Iterator[None]:
    """Note all that is read meanwhile."""
    global is_making_schema
    is_making_schema = True
    try:
        yield
    finally:
        is_making_schema = False


def record(key: str, sources: Iterable[Path]) -> None:
    """Record what has been used, for migrations that are in `sources`."""
    RECORDS.mkdir(exist_ok=True)
    used = opened | imported(sources)
    text = "\n".join(sorted(str(path.relative_to(ROOT)) for path in used))
    (RECORDS / f"{key}.inputs").write_text(text, encoding="utf-8")


def digest(key: str) -> str:
    """Return what is another text when something has changed that was recorded."""
    result = hashlib.sha256(key.encode())
    with suppress(FileNotFoundError):  # not made yet: then no database has that name
        for line in (RECORDS / f"{key}.inputs").read_text(encoding="utf-8").splitlines():
            path = ROOT / line
            if path.is_dir():
                names = {name for name in os.listdir(path) if name != "__pycache__"}
                content = "/".join(sorted(names)).encode()
            else:
                content = path.read_bytes() if path.is_file() else b"/"
            result.update(hashlib.sha256(content).digest())
    return result.hexdigest()


def is_of_project(path: Path) -> bool:
    """Tell whether `path` is the project's own, and not in a cache or an environment."""
    if not path.is_relative_to(ROOT) or path.is_relative_to(ENVIRONMENT):
        return False
    folders = path.relative_to(ROOT).parts[:-1]
    return not any(folder.startswith((".", "__pycache__")) for folder in folders)


def source(name: str) -> Path:
    """Return the module that a file of bytecode was made from; another file is its own source."""
    with suppress(ValueError):
        return Path(source_from_cache(name))
    return Path(name)


def imported(files: Iterable[Path]) -> set[Path]:
    """Return the modules of the project that `files` import, and that these import in turn.

    Most have been imported before migrations were, so that nobody could see it happen.
    """
    found = set()
    pending = [(file, "") for file in files if file.suffix == ".py"]
    while pending:
        for name in names(*pending.pop()):
            while name:
                module = sys.modules.get(name)
                file = Path(getattr(module, "__file__", None) or "/").resolve()
                if file not in found and is_of_project(file):
                    found.add(file)
                    pending.append((file, getattr(module, "__package__", None) or ""))
                name = name.rpartition(".")[0]
    return found


def names(file: Path, package: str) -> Iterator[str]:
    """Yield what the module in `file` may import: in statements, or by a name that is a text."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # nothing can have imported it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):
                base = resolve_name("." * node.level + (node.module or ""), package)
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
