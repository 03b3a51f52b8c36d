"""Parquet and Arrow files as lines of JSON, with pyarrow, which the validation job has and the function app has not."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import IO, Any

import orjson

from shared.validation.fields import MEDIA
from shared.validation.lines import Unreadable

PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_ROWS_AT_ONCE = 256
_NOT_UTF8 = b'{"\xff"}\n'  # stands for a row with bytes that are no text, and is refused as such


def are_columns(head: bytes) -> bool:
    """Whether a file that begins so is Parquet, or Arrow as a file (Feather) or as a stream (Hugging Face datasets)."""
    return head.startswith((PARQUET, _ARROW_FILE, _ARROW_STREAM))


def read_columns(file: IO[bytes]) -> Iterator[bytes]:
    """A JSON object a line, a few rows at a time. Times and bytes are texts, of images only their number; null fields
    of structs are left out. Raises Unreadable (`invalid_columns`, `csv_header`, `columns_need_job` without pyarrow)."""
    if find_spec("pyarrow") is None:
        raise Unreadable("columns_need_job")
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        for batch in _batches(file):
            _refuse_same_names(batch.schema)
            for number, field in enumerate(batch.schema):
                if pa.types.is_float32(field.type):  # 0.1, not 0.10000000149011612
                    exact = batch.column(number).cast(pa.string()).cast(pa.float64())
                    batch = batch.set_column(number, field.name, exact)
            yield b"".join(map(_line, batch.to_pylist()))
    except (pa.ArrowException, OSError, ValueError, OverflowError, orjson.JSONEncodeError) as error:
        raise Unreadable("invalid_columns") from error


def _batches(file: IO[bytes]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    head = file.read(len(_ARROW_FILE))
    file.seek(0)
    if head.startswith(PARQUET):
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


def _refuse_same_names(fields: Iterable[Any]) -> None:
    """`fields`: a schema's, or those below one. Of several with the same name only one would be read."""
    import pyarrow as pa

    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise Unreadable("csv_header")
    for field in fields:
        kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
        _refuse_same_names([kind.field(number) for number in range(kind.num_fields)])


def _line(row: dict[str, Any]) -> bytes:
    try:
        plain = {name: _plain(value, name) for name, value in row.items()}
    except UnicodeDecodeError:
        return _NOT_UTF8
    return orjson.dumps(plain, default=str, option=orjson.OPT_APPEND_NEWLINE)


def _plain(value: Any, name: str) -> Any:
    """A value as JSON has it. `name`: of the field it stands in; one of images holds bytes that are no text."""
    if type(value) is str:
        return value
    if type(value) is dict:
        is_media = name in MEDIA
        return {key: _plain(one, name if is_media else key) for key, one in value.items() if one is not None}
    if type(value) in (list, tuple):
        return [_plain(one, name) for one in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes" if name in MEDIA else value.decode()
    return value
