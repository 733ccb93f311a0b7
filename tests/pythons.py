"""The Pythons that projects are tested on: those of this machine, and uv, which finds them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

UV: Final = os.environ.get("UV", "uv")
SUPPORTED: Final = ("3.11", "3.12", "3.13", "3.14")


def find_pythons() -> dict[str, str]:
    """Return the path of each supported Python that is installed, by its version, oldest first.

    PYTHONS, a list of versions, says which ones count.

    Raises:
        LookupError: one that PYTHONS names is not installed.
    """
    chosen = os.environ.get("PYTHONS", "").split()
    # Those of pyenv are not on the path, unless pyenv was told so for each.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [os.environ["PATH"], *map(str, pyenv.glob("versions/*/bin"))]
    environment = os.environ | {"PATH": os.pathsep.join(folders)}
    found = {}
    for version in SUPPORTED:
        if not chosen or version in chosen:
            command = [UV, "python", "find", "--system", "--no-python-downloads", version]
            process = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            if process.returncode == 0:
                found[version] = process.stdout.strip()
    if missing := {*chosen} - {*found}:
        raise LookupError(f"PYTHONS: {sorted(missing)} not supported, or not found")
    return found or {"{}.{}".format(*sys.version_info): sys.executable}


PYTHONS: Final = find_pythons()
OLDEST: Final = min(PYTHONS)
NEWEST: Final = max(PYTHONS)
