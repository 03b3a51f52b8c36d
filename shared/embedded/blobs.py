"""BlobStore on plain files."""

import os
import stat
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from shared.domain.errors import BlobNotFound, InvalidInput, StoreConflict
from shared.ports import BlobInfo
from shared.ports.blobs import bad_path, check_path, check_prefix, is_part

CHUNK_BYTES = 1024 * 1024

# Limits of Linux on one name and on a whole path with its closing NUL (limits.h: NAME_MAX, PATH_MAX).
_NAME_BYTES, _PATH_BYTES = 255, 4096

_TMP = ".tmp"
_TMP_LIFETIME_S = 24 * 3600
# Of the coarsest clock of a file system that is common: two seconds of FAT.
_TICK_NS = 2_000_000_000
_MAX_FOLDERS = 1000


class FileBlobStore:
    """A container is a folder and a blob a plain file, so people and jobs may use `cp` and `open`. Hidden files are no
    blobs, links are not followed. Unlike in Azure a blob `a` and a blob `a/b` cannot both exist."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).resolve()
        self._folders: dict[str, tuple[tuple[int, int], Sequence[str]]] = {}
        (self._root / _TMP).mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()

    def info(self, path: str) -> BlobInfo | None:
        file = self._file(path)
        try:
            return _info(path, file.stat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        """In chunks of 1 MiB. StoreConflict too if another process writes into the file while it is read."""
        found = self.info(path)
        if found is None:
            raise BlobNotFound(path)
        if etag not in (None, found.etag):
            raise StoreConflict(f"blob {path}")
        return self._stream(path, etag)

    def write(self, path: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> BlobInfo:
        """InvalidInput if the name is that of a folder or lies below another blob."""
        file = self._file(path)
        tmp = self._root / _TMP / uuid.uuid4().hex
        try:
            with tmp.open("xb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
                # A file system stamps with the timer tick of its kernel, milliseconds apart. Without this, of
                # two writes within a tick the second may have the etag of a blob just replaced.
                os.utime(stream.fileno(), ns=(time.time_ns(),) * 2)
                status = os.fstat(stream.fileno())
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                if if_absent:
                    os.link(tmp, file)  # unlike a rename it fails if the name is taken
                else:
                    tmp.replace(file)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                if if_absent and file.is_file():
                    raise StoreConflict(f"blob {path}") from error
                raise InvalidInput("blob_name_taken", f"{path} is a folder or lies below another blob", path) from error
        finally:
            tmp.unlink(missing_ok=True)
        info = _info(path, status)
        assert info is not None  # a file we wrote is a regular file
        return info

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Hidden files, links and what may not be read are left out."""
        return self._list(prefix, "")

    def list_page(self, prefix: str, limit: int, cursor: str | None = None) -> tuple[Sequence[BlobInfo], str | None]:
        """The cursor is the path of the last one."""
        page = list(islice(self._list(prefix, cursor or ""), limit))
        return page, page[-1].path if len(page) == limit else None

    def _list(self, prefix: str, after: str) -> Iterator[BlobInfo]:
        check_prefix(prefix)
        self._check_fits(prefix.rpartition("/")[0])
        folder, _, start = prefix.rpartition("/")
        return self._walk(folder, start, after)

    def delete(self, path: str) -> None:
        file = self._file(path)
        if self.info(path) is not None:
            file.unlink(missing_ok=True)

    def _file(self, path: str) -> Path:
        check_path(path)
        self._check_fits(path)
        file = self._root.joinpath(*path.split("/"))
        if os.path.realpath(file) != str(file):
            raise bad_path(path)
        return file

    def _check_fits(self, path: str) -> None:
        """Raises InvalidInput `bad_blob_path` if the file system cannot have a file there."""
        too_long = any(len(part.encode()) > _NAME_BYTES for part in path.split("/"))
        if too_long or len(os.fsencode(self._root / path)) >= _PATH_BYTES:
            raise bad_path(path)

    def _stream(self, path: str, etag: str | None) -> Iterator[bytes]:
        try:
            stream = self._file(path).open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BlobNotFound(path) from error
        with stream:
            pinned = etag or _etag(os.fstat(stream.fileno()))
            while True:
                chunk = stream.read(CHUNK_BYTES)
                # A blob replaced meanwhile is no matter: this is still the old file. But a person may `cp`
                # over it, and half of the old with half of the new must not pass for a blob.
                if _etag(os.fstat(stream.fileno())) != pinned:
                    raise StoreConflict(f"blob {path}")
                if not chunk:
                    return
                yield chunk

    def _walk(self, folder: str, start: str, after: str) -> Iterator[BlobInfo]:
        """Blobs below `folder` ("" is the root) in the order of their whole paths, those up to `after` left out."""
        prefix = f"{folder}/" if folder else ""
        if after > prefix and not after.startswith(prefix):
            return
        names, rest = self._names(folder), after[len(prefix) :] if after.startswith(prefix) else ""
        first = bisect_right(names, rest)
        if first and names[first - 1].endswith("/") and rest.startswith(names[first - 1]):
            first -= 1  # the folder that `after` lies in
        for name in islice(names, max(first, bisect_left(names, start)), None):
            if not name.startswith(start):
                return
            if name.endswith("/"):
                yield from self._walk(prefix + name[:-1], "", after)
            elif folder:
                # Deleted since the folder was read.
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    # Of its own name only: to resolve the way to it would cost four times as much for each of many.
                    if info := _info(prefix + name, os.lstat(f"{self._root}/{prefix}{name}")):
                        yield info

    def _names(self, folder: str) -> Sequence[str]:
        """What is in a folder, sorted, folders with a slash. Not kept if it changed within its clock's last tick."""
        try:
            status = os.stat(self._root / folder)
            version = (status.st_mtime_ns, status.st_ino)
            if (known := self._folders.get(folder)) and known[0] == version:
                return known[1]
            with os.scandir(self._root / folder) as entries:
                names = sorted(filter(None, map(_name_of, entries)))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []
        if time.time_ns() - status.st_mtime_ns > _TICK_NS:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[folder] = version, names
        return names

    def _remove_leftovers(self) -> None:
        """Remove what killed writers left, as long as no living writer can still be at it."""
        for file in (self._root / _TMP).iterdir():
            try:
                if file.stat().st_mtime < time.time() - _TMP_LIFETIME_S:
                    file.unlink()
            except FileNotFoundError:
                pass  # its writer finished, or another process was quicker


def _name_of(entry: os.DirEntry[str]) -> str | None:
    """A folder with a slash; None for what is no blob and holds none."""
    if not is_part(entry.name):
        return None
    if entry.is_dir(follow_symlinks=False):
        return f"{entry.name}/"
    return entry.name if entry.is_file(follow_symlinks=False) else None


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _info(path: str, status: os.stat_result) -> BlobInfo | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return BlobInfo(
        path=path,
        etag=_etag(status),
        size_bytes=status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC),
    )
