"""The port for blobs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BlobInfo:
    path: str
    etag: str
    size_bytes: int
    modified_at: datetime


class BlobStore(Protocol):
    """Containers of blobs. A path is `<container>/<name>`; another path raises InvalidInput."""

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
