"""Process groups that outlive the emulator and are found again by a restarted one.

A claim is a folder that exactly one process may create, so that an attempt never runs twice. In it
lie the process id of the group's leader and, once the command has ended, its exit code.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from local_stack.azure_ml.config import TMP
from local_stack.processes import MARK, REPOSITORY

log = logging.getLogger(__name__)
# Azure/azureml-assets#5046: on Singularity a job runs as user 9000, whatever user the image or the job names. Here it
# does so in a user namespace: for the machine, files and processes stay those of the emulator's user.
_FOREIGN = ("unshare", "--user", "--map-user=9000", "--map-group=9000", "--")
# What a container without an ENV PATH has (github.com/moby/moby, oci/defaults.go).
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Every process of a group carries it: a recycled process id is never taken for one of ours.
_CLAIM = "DROPTUNE_EMULATOR_CLAIM"

# mkdir is atomic. The trap keeps the leader alive until the command has ended and its code is written;
# a trapped signal is back to its default in the children, so they do receive it.
_LEADER = """
mkdir "$DROPTUNE_EMULATOR_CLAIM" 2>/dev/null || exit 0
trap : TERM
claim=$DROPTUNE_EMULATOR_CLAIM
echo $$ > "$claim/pid.new" && mv "$claim/pid.new" "$claim/pid"
"$@"
echo $? > "$claim/exit.new" && mv "$claim/exit.new" "$claim/exit"
"""

LAUNCH_WITHIN_S = 5.0

_children: list[subprocess.Popen[bytes]] = []


def launch(claim: Path, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
    """Start a command as its own process group; does nothing if the claim is taken."""
    cwd.mkdir(parents=True, exist_ok=True)
    claim.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        _children.append(
            subprocess.Popen(
                ["/bin/sh", "-c", _LEADER, str(claim), *_foreign_user(), *argv],
                cwd=cwd,
                env={**env, _CLAIM: str(claim)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )


def container(folder: Path, image: Mapping[str, str]) -> dict[str, str]:
    """Variables of a command in a container: the image's, and nothing of this process but the stack's mark.

    The image's /tmp is in `folder`, as is HOME, the home of somebody else: nobody may look into it or write.
    """
    home, scratch = folder / "home", folder / "tmp"
    home.mkdir(0o400, parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    own = {name: value.replace(TMP, str(scratch)) for name, value in image.items()}
    return {"PATH": _PATH, **own, "HOME": str(home), **{k: v for k, v in os.environ.items() if k == MARK}}


@cache
def _foreign_user() -> tuple[str, ...]:
    """What starts a command as another user; where the machine has no user namespaces, nothing, and a warning."""
    try:
        tried = subprocess.run([*_FOREIGN, "test", "-r", str(REPOSITORY)], capture_output=True, text=True)
        problem = tried.stderr.strip() or f"it may not read {REPOSITORY}" if tried.returncode else None
    except OSError as error:  # macOS
        problem = str(error)
    if problem is None:
        return _FOREIGN
    root = ", with all rights: what HOME and modes of files forbid in Azure passes" if os.geteuid() == 0 else ""
    log.warning("commands run as this user%s; as user 9000, which Azure has, they cannot: %s", root, problem)
    return ()


def reap() -> None:
    """Collect ended children, or they stay zombies for as long as the emulator lives."""
    _children[:] = [child for child in _children if child.poll() is None]


def kill_children() -> None:
    """End every group this process has started; adopted ones are ended by their claim."""
    for child in _children:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    for child in _children:
        child.wait()
    _children.clear()


def seconds_since(moment: float) -> float:
    """Of Unix time. After the clock was set back it may lie ahead, as far as the clock was wrong."""
    return abs(time.time() - moment)


def starting(claim: Path, launched_at: float) -> bool:
    """Whether a leader that was launched (Unix time) has had no time yet to say so."""
    return leader(claim) is None and seconds_since(launched_at) < LAUNCH_WITHIN_S


def leader(claim: Path) -> int | None:
    """Process id of the group's leader (also the group's id); None before it has started."""
    return _number(claim / "pid")


def exit_code(claim: Path) -> int | None:
    """Exit code of the command; None while it runs, or if it was killed together with its leader."""
    return _number(claim / "exit")


def is_running(claim: Path) -> bool:
    """Whether the leader still runs."""
    pid = leader(claim)
    return pid is not None and _belongs(pid, claim)


def members(claim: Path) -> list[int]:
    """Process ids of the group that still run, the leader's among them."""
    group = leader(claim)
    if group is None:
        return []
    ours = _belongs(group, claim)  # then the group is ours, even where an environment cannot be read
    return [pid for pid in psutil.pids() if _group_of(pid) == group and (_runs(pid) if ours else _belongs(pid, claim))]


def send_signal(claim: Path, number: signal.Signals) -> bool:
    """Signal every process of the group; false once no process is left."""
    pids = members(claim)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(pids)


def _belongs(pid: int, claim: Path) -> bool:
    """By its command line (the leader) or its environment; macOS hides that of its own programs."""
    try:
        process = psutil.Process(pid)
        return _runs(pid) and (str(claim) in process.cmdline() or process.environ().get(_CLAIM) == str(claim))
    except (psutil.Error, OSError):
        return False


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
