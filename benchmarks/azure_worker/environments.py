"""Virtual environments of their own, built once for a set of requirements and then kept in `.venvs/`."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from benchmarks.measure import REPOSITORY

REQUIREMENTS = REPOSITORY / "requirements.txt"
_FOLDER = REPOSITORY / ".venvs"
_BUILD_S = 280


class NotBuilt(Exception):
    """The package index cannot be reached."""


def environment(python: Path, *packages: str) -> Path:
    """The interpreter of an environment with what Azure installs, or these packages, and no more. Raises NotBuilt."""
    inputs = "\0".join([str(python), *(packages or [REQUIREMENTS.read_text()])])
    folder = _FOLDER / hashlib.sha256(inputs.encode()).hexdigest()[:16]
    interpreter, complete = folder / "bin" / "python", folder / ".complete"
    _FOLDER.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--quiet", "--no-python-downloads", "--python", str(python), str(folder))
            hashed = ("--require-hashes", "-r", str(REQUIREMENTS))  # as pip does by itself when a line has a hash
            _uv("pip", "install", "--quiet", "--python", str(interpreter), *(packages or hashed))
            complete.touch()
    return interpreter


def _uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    built = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_S)
    if built.returncode and "error sending request" in built.stderr:
        raise NotBuilt("the package index cannot be reached")
    if built.returncode:
        raise RuntimeError(built.stderr)


def find_python(version: str) -> Path | None:
    """An interpreter of that version, from the path or among pyenv's."""
    named = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in [*([Path(named)] if named else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        # A pyenv shim is on the path whether or not its version is switched on, so it is asked.
        script = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
        process = subprocess.run([candidate, "-c", script], capture_output=True, text=True)
        if process.returncode == 0 and process.stdout.split()[-1] == version:
            return Path(process.stdout.split()[0])
    return None
