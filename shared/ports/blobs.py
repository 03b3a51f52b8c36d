"""The port for blobs."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class BlobInfo:
    path: str
    etag: str
    size_bytes: int
    modified_at: datetime


class BlobStore(Protocol):
    """Containers of blobs. A path is `<container>/<name>`; another path raises InvalidInput.

    Where there are accounts of Azure Storage, `info` and `read` take the URL of a blob of another account too.
    """

    def info(self, path: str) -> BlobInfo | None:
        """Metadata, or None if absent."""

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        """Stream the content in chunks.

        Raises BlobNotFound if absent; StoreConflict if `etag` is given and the blob has another, or if the
        blob is replaced while it is read.
        """

    def write(self, path: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> BlobInfo:
        """Replace the blob atomically; a reader sees the old or the new content, never a part.

        Raises StoreConflict if `if_absent` and the blob exists; a service may also raise it if another writer has
        replaced the blob meanwhile.
        """

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Blobs whose path starts with `prefix`, ordered by path."""

    def list_page(self, prefix: str, limit: int, cursor: str | None = None) -> tuple[Sequence[BlobInfo], str | None]:
        """Up to `limit` (1 to 5,000) of the same, and the cursor of the page behind them; None at the end.

        A page costs what it holds, wherever it is. Raises InvalidInput for a cursor that the store does not take.
        """

    def delete(self, path: str) -> None:
        """Remove the blob; absence is fine."""


# One part of a path: not hidden (so neither "." nor ".."), no separator of any system, no control character.
_PART = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]*")
# Of a blob name in Azure; the container's name does not count.
# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_NAME_CHARACTERS = 1024


def is_part(name: str) -> bool:
    """Whether a file or folder of this name can belong to a blob."""
    return _PART.fullmatch(name) is not None


def check_path(path: str) -> None:
    """Raises InvalidInput `bad_blob_path` unless it is `<container>/<name>`."""
    _, slash, name = path.partition("/")
    if not slash or len(name) > _NAME_CHARACTERS or not all(map(is_part, path.split("/"))):
        raise bad_path(path)


def check_prefix(prefix: str) -> None:
    """Raises InvalidInput `bad_blob_path` if no path could begin with it; its last part may be incomplete."""
    folder = prefix.rpartition("/")[0]
    if folder and not all(map(is_part, folder.split("/"))):
        raise bad_path(prefix)


def bad_path(path: str) -> InvalidInput:
    """The error for a malformed path or prefix."""
    message = f"{path!r} is not <container>/<name>; no part may be empty, hidden, a link or too long"
    return InvalidInput("bad_blob_path", message, path)
