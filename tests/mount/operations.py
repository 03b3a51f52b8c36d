"""File operations and what comes of each on Azure ML's mount, and on the folder that a laptop's job works in.

`outcome` is what `run` returns, or the name of the error. Those in `JOBS` are done by our jobs; the others show where
a mount is no ordinary folder.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Operation(NamedTuple):
    name: str
    do: Callable[[Path], object]
    mount: object
    folder: object


def outcome(operation: Operation, place: Path) -> object:
    try:
        return operation.do(place)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def file(place: Path, content: bytes = b"abc", name: str = "file") -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def replaced(place: Path) -> object:
    partial, path = file(place, b"new", ".partial"), file(place, b"old")
    with partial.open("r+b") as opened:
        os.fsync(opened.fileno())
    partial.replace(path)
    return path.read_bytes(), partial.exists(), os.listdir(place)


def appended(place: Path) -> object:
    path = file(place)
    with path.open("ab") as opened:
        opened.write(b"d")
        opened.flush()
        os.fsync(opened.fileno())
        return path.read_bytes(), path.stat().st_size


def rewritten(place: Path) -> object:
    with (place / "file").open("w+b") as opened:
        opened.write(b"abcdef")
        opened.seek(2)
        opened.write(b"X")
        opened.seek(0)
        return opened.read()


def as_safetensors_saves(place: Path) -> object:
    with (place / ".tmp1").open("w+b") as opened:
        opened.truncate(10_000)
        opened.write(b"head")
        opened.seek(9_999)
        opened.write(b"x")
    (place / ".tmp1").rename(place / "model.safetensors")
    content = (place / "model.safetensors").read_bytes()
    return len(content), content[:5], content[-1:]


def mapped(place: Path) -> object:
    with file(place, b"x" * 10_000).open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as view:
        return len(view), view[:1]


def unlinked_while_open(place: Path) -> object:
    path = file(place)
    with path.open("rb") as opened:
        path.unlink()
        return opened.read(), path.exists()


def exclusive(place: Path) -> object:
    file(place).open("xb").close()
    return "created twice"


def renamed_folder(place: Path) -> object:
    file(place, name="checkpoint-1/in/file")
    (place / "checkpoint-1").rename(place / "aside")
    return (place / "aside/in/file").read_bytes(), os.listdir(place)


def renamed_over_folder(place: Path) -> object:
    file(place, name="one/a")
    file(place, name="two/b")
    (place / "one").rename(place / "two")
    return sorted(os.listdir(place / "two"))


def removed_tree(place: Path) -> object:
    for name in ("a/b/c", "a/b/d", "a/.e"):
        file(place, name=name)
    shutil.rmtree(place / "a")
    return os.listdir(place)


def copied_tree(place: Path) -> object:
    shutil.copytree(file(place, b"x" * 100_000, "a/b").parent, place / "copy")
    return (place / "copy/b").stat().st_size


def zipped(place: Path) -> object:
    with zipfile.ZipFile(place / "state.pt", "w") as written:
        written.writestr("data", b"x" * 1000)
    with zipfile.ZipFile(place / "state.pt") as read:
        return len(read.read("data"))


def linked_to(place: Path) -> object:
    link = place / "link"
    link.symlink_to(file(place))
    return link.read_bytes()


def locked(place: Path) -> object:
    with file(place).open("r+b") as opened, (place / "file").open("r+b") as other:
        fcntl.flock(opened, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "locked twice"


def database(place: Path) -> object:
    with sqlite3.connect(place / "db") as opened:
        opened.execute("CREATE TABLE t (a)")
        opened.execute("INSERT INTO t VALUES (1)")
    found = opened.execute("SELECT a FROM t").fetchone()
    opened.close()
    return found


def named(place: Path) -> object:
    names = ["a b", "ü", ".hidden", "a%20b", "a#b", "a+b", "end."]
    for name in names:
        file(place, name=name)
    return sorted(os.listdir(place)) == sorted(names)


def mode(place: Path) -> object:
    file(place).chmod(0o640)
    return oct((place / "file").stat().st_mode & 0o777)


def modified(place: Path) -> object:
    os.utime(file(place), (1e9, 1e9))
    return (place / "file").stat().st_mtime == 1e9


def same(name: str, do: Callable[[Path], object], result: object) -> Operation:
    return Operation(name, do, result, result)


JOBS = [
    same("write beside, fsync, rename over the old file", replaced, (b"new", False, ["file"])),
    same("append, fsync, read before it is closed", appended, (b"abcd", 4)),
    same("write, seek, overwrite, read (`w+b`)", rewritten, b"abXdef"),
    same("lengthen, fill, rename (safetensors)", as_safetensors_saves, (10_000, b"head\0", b"x")),
    same("map into memory to read (safetensors)", mapped, (10_000, b"x")),
    same("write and read a zip archive (torch.save)", zipped, 1000),
    same("rename a folder with files", renamed_folder, (b"abc", ["aside"])),
    same("delete a folder with files, hidden ones too", removed_tree, []),
    same("write names with spaces, signs, umlauts", named, True),
    same("delete a file that is open", unlinked_while_open, (b"abc", False)),
]
OTHERS = [
    same("copy a folder (sendfile, then mode, times, attributes)", copied_tree, 100_000),
    same("create a file that must not exist", exclusive, "EEXIST"),
    same("lock a file twice", locked, "EAGAIN"),
    same("a SQLite database with a rollback journal", database, (1,)),
    Operation("follow a symbolic link", linked_to, "ENOENT", b"abc"),
    Operation("make a hard link", lambda at: os.link(file(at), at / "link"), "EPERM", None),
    Operation("make a pipe", lambda at: os.mkfifo(at / "pipe"), "ENOSYS", None),
    Operation("rename a folder over another with files", renamed_over_folder, ["b", "one"], "ENOTEMPTY"),
    Operation("change the mode", mode, "0o777", "0o640"),
    Operation("change the time of modification", modified, False, True),
    Operation("set an extended attribute", lambda at: os.setxattr(file(at), "user.a", b"1"), "ENOTSUP", None),
    Operation("count free bytes", lambda at: os.statvfs(at).f_bavail > 0, False, True),
]
