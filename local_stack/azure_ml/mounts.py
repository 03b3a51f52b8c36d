"""How the files a URI names get to a process and back: a live folder, or copies of blobs as on a remote machine."""

import time
from collections.abc import Iterator
from pathlib import Path

from local_stack.azure_ml.config import EmulatorConfig
from local_stack.azure_ml.strict import local_path, user_error
from shared.domain.errors import BlobNotFound, PermanentFailure
from shared.ports import BlobStore
from shared.ports.blobs import is_part
from shared.validation.lines import chunks_of

PUSH_EVERY_S = 1.0


class Mounts:
    """A datastore is a folder of the blob root, and a process works in it.

    `place` is a folder of the one process that wants the files.
    """

    def __init__(self, blob_root: Path) -> None:
        self._root = blob_root

    def path(self, uri: str, place: Path) -> Path:
        """Where the process finds the folder or file. Raises ArmError for what is no URI of data."""
        return local_path(uri, self._root)

    def exists(self, uri: str) -> bool:
        """Whether there is a file or a folder with files."""
        return local_path(uri, self._root).exists()

    def fetch(self, uri: str, place: Path) -> None:
        """Have the files at `path`, where they are already; absence is fine."""

    def push(self, uri: str, place: Path, *, all: bool = False) -> None:
        """Save what the process has changed since, which is where it belongs; unless `all`, at most every second."""

    def check(self, uri: str, place: Path) -> None:
        """Raises ArmError for what Azure ML's mount would not have let a job make (measured: tests/mount)."""
        for file in self.path(uri, place).rglob("*"):
            if file.is_symlink() or file.is_fifo() or (file.is_file() and file.stat().st_nlink > 1):
                raise user_error(f"'{file.name}' in '{uri}' is a link or a pipe, which a mount does not have")


def make_mounts(config: EmulatorConfig) -> Mounts:
    """By whether the emulator was given a blob store."""
    if config.blob_store is None:
        return Mounts(config.blob_root)
    # It imports the whole pipeline, which takes longer than the rest of the emulator, and folders need none of it.
    from shared.services import build_blob_store

    return BlobCopies(build_blob_store(config.blob_store))


class BlobCopies(Mounts):
    """A datastore is a container: files are copied in before the start, and out while a job runs and at its end.

    Azure ML mounts a ReadWriteMount output, where a file reaches the container when it is closed; here that is
    seen within a second. What a process deletes is deleted. Hidden files stay on the machine.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        # Per place and URI: when it was pushed, and what the container has, by blob path (None: not known).
        self._pushed: dict[tuple[Path, str], float] = {}
        self._saved: dict[tuple[Path, str], dict[str, tuple[int, int] | None]] = {}

    def path(self, uri: str, place: Path) -> Path:
        return local_path(uri, place)

    def exists(self, uri: str) -> bool:
        return any(True for _ in self._found(uri))

    def fetch(self, uri: str, place: Path) -> None:
        """Copy the blobs into `place`; those of an earlier run of the same place are kept."""
        for path in self._found(uri):
            file = place / path
            if file.exists():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            try:
                with partial.open("wb") as stream:
                    stream.writelines(self._blobs.read(path))
                partial.replace(file)
            except BlobNotFound:  # deleted since it was listed
                partial.unlink()

    def push(self, uri: str, place: Path, *, all: bool = False) -> None:
        """Copy changed files out, in the order they were written: a completion mark comes after what it marks."""
        key = (place, uri)
        if not all and time.monotonic() - self._pushed.get(key, 0.0) < PUSH_EVERY_S:
            return
        folder = local_path(uri, place)
        files = {f"{file.relative_to(place)}": file for file in folder.rglob("*") if _is_blob(file, folder)}
        states = {path: state for path, file in files.items() if (state := _state(file)) is not None}
        saved = self._saved.setdefault(key, dict.fromkeys(self._found(uri)))
        for path in sorted(states, key=lambda one: states[one]):
            if saved.get(path) != states[path]:
                try:
                    self._blobs.write(path, chunks_of(files[path]))
                except FileNotFoundError:  # renamed or deleted meanwhile; seen next time
                    continue
                saved[path] = states[path]
        for path in saved.keys() - states.keys():
            self._blobs.delete(path)
            del saved[path]
        self._pushed[key] = time.monotonic()

    def _found(self, uri: str) -> Iterator[str]:
        """Paths of the blob, or of the blobs below the folder, that the URI names."""
        path = local_path(uri, Path("/")).as_posix().strip("/")
        try:
            if self._blobs.info(path) is not None:
                yield path
            else:
                yield from (found.path for found in self._blobs.list(f"{path}/"))
        except PermanentFailure as error:  # no such container
            raise user_error(f"'{uri}' cannot be read: {error.problem.message}") from error


def _is_blob(file: Path, folder: Path) -> bool:
    return all(map(is_part, file.relative_to(folder).parts)) and file.is_file() and not file.is_symlink()


def _state(file: Path) -> tuple[int, int] | None:
    """Time of the last change in nanoseconds, and size; None if it is gone."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
