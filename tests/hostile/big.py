"""Validate one large hostile file that is made on the way; print its codes, and the most memory before and after (MB).

python -m tests.hostile.big NAME
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

from benchmarks.measure import peak_memory_mb
from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate

PIECE = 2**20


def filled(head: bytes, part: bytes, tail: bytes) -> bytes:
    """One row just within the limit."""
    count = (MAX_ROW_BYTES - len(head) - len(tail) + 1) // (len(part) + 1)
    return head + b",".join(repeat(part, count)) + tail


def keys() -> bytes:
    return b"{" + b",".join(b'"%x":{}' % number for number in range(MAX_ROW_BYTES // 12)) + b"}"


def bomb() -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    for piece in repeat(b" " * PIECE, 1024):
        yield packer.compress(piece)
    yield packer.flush()


def table(*rest: Iterable[bytes]) -> Iterator[bytes]:
    yield b"prompt,completion\n" + b"".join(b"p%d,c\n" % number for number in range(60))
    for part in rest:
        yield from part


COPY = b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}\n'
FILES: dict[str, Callable[[], Iterable[bytes]]] = {
    "a line of 100 MB": lambda: repeat(b"x" * PIECE, 100),
    "a row of 100 MB that is good JSON": lambda: (b'{"messages":"', *repeat(b"x" * PIECE, 100), b'"}\n'),
    "empty lists up to the limit": lambda: [filled(b"[", b"[]", b"]")],
    "empty objects up to the limit": lambda: [filled(b'{"x":[', b"{}", b"]}")],
    "keys up to the limit": lambda: [keys()],
    "messages up to the limit": lambda: [filled(b'{"messages":[', b"{}", b"]}")],
    "twenty rows up to the limit": lambda: repeat(filled(b'{"x":[', b"{}", b"]}") + b"\n", 20),
    "two million blank lines": lambda: repeat(b"\n" * 10_000, 200),
    "a gzip bomb of 1 GB": bomb,
    "a bomb of many members": lambda: repeat(gzip.compress(b" " * 10_000_000, compresslevel=9), 2000),
    "ten thousand copies": lambda: repeat(COPY * 100, 100),
    "fifty thousand copies": lambda: repeat(COPY * 100, 500),
    "CSV with an open quotation of 100 MB": lambda: table([b'"'], repeat(b"x" * PIECE, 100)),
    "CSV with a quotation of a million lines": lambda: table([b'"'], repeat(b"x\n" * 1000, 3000)),
}


def main(name: str) -> None:
    before_mb = peak_memory_mb()
    with spooled_sink() as sink:
        report = validate(
            FILES[name](),
            None,
            None,
            project="part-codes",
            file_name="train.csv" if name.startswith("CSV") else "train.jsonl",
            default_base_model="droptune/tiny-llama",
            sink=sink,
        ).report
    print(json.dumps([[problem.code for problem in report.problems], before_mb, peak_memory_mb()]))


if __name__ == "__main__":
    main(sys.argv[1])
