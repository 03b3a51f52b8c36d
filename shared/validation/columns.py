"""Parquet and Arrow files as lines of JSON, with pyarrow, which the validation job has and the function app has not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import IO, Any

import orjson

from shared.validation.lines import Unreadable

_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_ROWS_AT_ONCE = 256


def are_columns(head: bytes) -> bool:
    """Whether a file that begins so is Parquet, or Arrow as a file (Feather) or as a stream (Hugging Face datasets)."""
    return head.startswith((_PARQUET, _ARROW_FILE, _ARROW_STREAM))


def read_columns(file: IO[bytes]) -> Iterator[bytes]:
    """One JSON object a line, for a few rows at a time. Times are texts; bytes stand as their number.

    Raises Unreadable (`invalid_columns`; `columns_need_job` where pyarrow is not installed).
    """
    if find_spec("pyarrow") is None:
        raise Unreadable("columns_need_job")
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        for batch in _batches(file):
            yield b"".join(map(_line, batch.to_pylist()))
    except (pa.ArrowException, OSError, ValueError, OverflowError, orjson.JSONEncodeError) as error:
        raise Unreadable("invalid_columns") from error


def _batches(file: IO[bytes]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    head = file.read(len(_ARROW_FILE))
    file.seek(0)
    if head.startswith(_PARQUET):
        yield from pq.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_ONCE)
        return
    if head.startswith(_ARROW_FILE):
        opened = pa.ipc.open_file(file)
        batches = map(opened.get_batch, range(opened.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(file))
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield batch.slice(start, _ROWS_AT_ONCE)


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, default=_text, option=orjson.OPT_APPEND_NEWLINE)


def _text(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
