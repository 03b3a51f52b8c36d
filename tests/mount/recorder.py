"""A plugin of pytest (`-p tests.mount.recorder`): which file operations the jobs do below a folder.

MOUNT names the folder, OPERATIONS the file for what was found: operations of Python, with how often each was done.
Operations of the tests themselves do not count.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from tests.paths import ROOT

MOUNT = os.environ["MOUNT"]
JOBS = f"{ROOT / 'training_job'}{os.sep}"
WATCHED = ("open", "os.", "shutil.copyfile", "mmap.", "fcntl.")
NOT_OF_FILES = ("os.putenv", "os.unsetenv", "os.fork")
WAYS = {os.O_RDONLY: "read", os.O_WRONLY: "write", os.O_RDWR: "read and write"}
FLAGS = {"create": os.O_CREAT, "exclusive": os.O_EXCL, "truncate": os.O_TRUNC, "append": os.O_APPEND}
_found: Counter[str] = Counter()


def record(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(WATCHED) and event not in NOT_OF_FILES:
        paths = [os.fsdecode(one) for one in arguments if isinstance(one, str | bytes | os.PathLike)]
        if any(path.startswith(MOUNT) for path in paths) and _of_a_job():
            _found[_name(event, arguments)] += 1


def _of_a_job() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(JOBS):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _name(event: str, arguments: tuple[object, ...]) -> str:
    if event != "open":
        return event
    flags = int(str(arguments[2]))
    return " ".join(["open", WAYS[flags & os.O_ACCMODE], *(name for name, bit in FLAGS.items() if flags & bit)])


def pytest_sessionfinish() -> None:
    Path(os.environ["OPERATIONS"]).write_text(json.dumps(dict(sorted(_found.items()))))


sys.addaudithook(record)
