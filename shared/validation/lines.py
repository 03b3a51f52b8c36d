"""Byte chunks to lines, whatever the chunks' size: byte order mark, line ends and limits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from shared.validation.codes import MAX_ROW_BYTES


@dataclass(slots=True)
class RefusedLine:
    """Stands for a line that is not passed on, and has its length. `code`: the reason."""

    code: str
    size: int

    def __len__(self) -> int:
        return self.size


# Number (from 1) and offset in the decompressed file (from 0) of the first of some lines that follow each other,
# and the lines without their line feeds. Lists, for a generator's turn a line would cost a tenth of its parsing.
Block = tuple[int, int, list[bytes | RefusedLine]]

UTF8_MARK = b"\xef\xbb\xbf"


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


def split_lines(chunks: Iterator[bytes], offset: int = 0) -> Iterator[Block]:
    """Lines in order. Holds one chunk and one line at a time, and never a line that is too long.

    `offset`: of the first chunk.
    """
    number = 1
    held: list[bytes] = []  # parts of the line that no chunk has ended yet
    size = 0
    for chunk in chunks:
        ended = chunk.split(b"\n")
        rest = ended.pop()
        lines = cast(list[bytes | RefusedLine], ended)
        if lines and size:
            size += len(lines[0])
            lines[0] = _joined([*held, ended[0]], size)
            held, size = [], 0
        if lines:
            if len(chunk) > MAX_ROW_BYTES:
                lines = [_joined([line], len(line)) for line in ended]
            yield number, offset, lines
            number += len(lines)
            offset += sum(map(len, lines)) + len(lines)
        size += len(rest)
        if size > MAX_ROW_BYTES:
            held = []
        elif rest:
            held.append(rest)
    if size:
        yield number, offset, [_joined(held, size)]


def _joined(parts: list[bytes], size: int) -> bytes | RefusedLine:
    if size > MAX_ROW_BYTES:
        return RefusedLine("row_too_long", size)
    return parts[0] if len(parts) == 1 else b"".join(parts)
