"""Byte chunks to lines, whatever the chunks' size: byte order mark, line ends and limits."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from shared.validation.codes import MAX_ROW_BYTES


@dataclass(slots=True)
class RefusedLine:
    """Stands for a line that is not passed on, and has its length. `code`: the reason."""

    code: str
    size: int

    def __len__(self) -> int:
        return self.size


# A line's number (from 1), its offset in the decompressed file (from 0), and the line without its line feed.
Line = tuple[int, int, bytes | RefusedLine]

UTF8_MARK = b"\xef\xbb\xbf"
BUFFER_BYTES = 2**16


class Unreadable(Exception):
    """The file cannot be read on; `code` is one of `CODES`, and `detail` goes into its message."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def chunks_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file."""
    with path.open("rb") as file:
        yield from iter(partial(file.read, 2**20), b"")


def decoded(text: bytes, encoding: str = "utf-8") -> str | None:
    """None if it is not of this encoding."""
    try:
        return text.decode(encoding)
    except UnicodeDecodeError:
        return None


class ChunkFile(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._left, self.read_bytes = filter(None, chunks), memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        self.read_bytes += size
        return size


def split_lines(chunks: Iterable[bytes], offset: int = 0) -> Iterator[Line]:
    """Lines in order; holds one chunk and one line at a time. `offset`: of the first chunk."""
    file = io.BufferedReader(ChunkFile(chunks), BUFFER_BYTES)
    for number in count(1):
        part = line = file.readline(MAX_ROW_BYTES + 1)
        if not line:
            return
        size = len(line)
        while part and not part.endswith(b"\n"):
            part = file.readline(BUFFER_BYTES)
            size += len(part)
        length = size - part.endswith(b"\n")
        is_long = length > MAX_ROW_BYTES
        yield number, offset, RefusedLine("row_too_long", length) if is_long else line.removesuffix(b"\n")
        offset += size
