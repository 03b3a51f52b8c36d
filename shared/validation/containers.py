"""What a file is packed in: gzip, a zip with one file, Parquet, Arrow; as text. Excel is in `workbooks`."""

import gzip
import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from shared.domain.beside import read_beside
from shared.validation import columns
from shared.validation.codes import MAX_DECOMPRESSED_BYTES, MAX_RATIO, RATIO_FROM_BYTES
from shared.validation.encodings import as_utf8, encoding_of
from shared.validation.lines import BUFFER_BYTES, ChunkFile, Unreadable

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\3\4", b"PK\5\6")  # the second of an empty one
# What `zipfile` raises for an archive that it cannot read; RuntimeError for one with a password.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_MAGIC_BYTES = 8
# Compound files: what Excel wrote until 2003, and what it still wraps a file with a password in (MS-OFFCRYPTO).
_COMPOUND = b"\xd0\xcf\x11\xe0"
_SPOOL_BYTES = 8 * 2**20
_NO_TEXT = {start.encode("latin-1"): what for what, starts in read_beside(__file__).items() for start in starts}
START_BYTES = 64
_NAME_AT = 30  # where a zip names its first entry (APPNOTE.TXT 4.3.7)
# What packages begin with: Office Open XML (ECMA-376), written by Excel, LibreOffice, openpyxl, XlsxWriter, SheetJS and
# others, each in its own order, and OpenDocument.
_ROOTS = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"docMetadata/", b"customXml/", b"xl/", b"word/", b"ppt/")
_OPEN_DOCUMENT = b"mimetypeapplication/"
# What macOS and Windows add to an archive for themselves.
_OF_SYSTEMS = re.compile(r"__MACOSX/.*|(.*/)?(\.DS_Store|Thumbs\.db|desktop\.ini)", re.DOTALL)
HEAD_BYTES = 4096
_PIECE_BYTES = 2**20


def read_text(chunks: Iterable[bytes], named: str = "") -> Iterator[bytes]:
    """The text in a file, as UTF-8, its first piece of `HEAD_BYTES` or more. `named`: its encoding, if not Unicode.
    Raises Unreadable (`not_utf8`, `invalid_gzip`, `invalid_zip`, `zip_files`, `invalid_columns`, `columns_need_job`,
    `invalid_workbook`, `decompression_bomb`)."""
    text = with_head(_plain(with_head(chunks, _MAGIC_BYTES)), HEAD_BYTES)
    first = next(text, b"")
    if first[257:262] == b"ustar":  # POSIX.1-1988
        raise Unreadable("not_utf8", "a tar archive")
    encoding, mark = encoding_of(first, named)
    if encoding in ("", named):
        if what := next((what for start, what in _NO_TEXT.items() if first.startswith(start)), None):
            raise Unreadable("not_utf8", what)
        if b"\0" in first[:4]:
            raise Unreadable("not_utf8", "binary data")
    if encoding:
        text = with_head(as_utf8(chain([first[mark:]], text), encoding), HEAD_BYTES)
        first = next(text, b"")
    if b"\r" in first[:-1] and b"\n" not in first:  # lines end as in old versions of macOS and Excel for it
        first, text = first.replace(b"\r", b"\n"), (piece.replace(b"\r", b"\n") for piece in text)
    yield first
    yield from text


def is_office(head: bytes) -> bool:
    """Whether a file that begins so is a workbook or document of an office suite, packed as a zip."""
    name = head[_NAME_AT:]
    return head.startswith(_ZIP[0]) and name.startswith((*_ROOTS, _OPEN_DOCUMENT))


def needs_job(chunks: Iterable[bytes], limit_bytes: int) -> bool:
    """Whether a file is of columns or a workbook, which only the job can read, or is packed and holds more text than
    this. No more than that is unpacked. What cannot be unpacked needs none: reading it says so."""
    source = with_head(chunks, START_BYTES)
    first = next(source, b"")
    if columns.are_columns(first) or is_office(first):
        return True
    if not first.startswith((_GZIP, *_ZIP)):
        return False
    left = limit_bytes
    try:
        for piece in read_text(chain([first], source)):
            left -= len(piece)
            if left < 0:
                return True
    except Unreadable:
        pass
    return False


def with_head(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes; the first chunk has at least `size` of them if there are that many."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= size:
            break
    if head:
        yield head
    yield from source


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    if first.startswith(_GZIP):
        yield from _gunzip(chain([first], chunks))
    elif first.startswith(_ZIP):
        with spooled(chain([first], chunks)) as file:
            yield from _unzip(file)
    elif columns.are_columns(first):
        with spooled(chain([first], chunks)) as file:
            yield from _limited(columns.read_columns(file), None)
    elif first.startswith(_COMPOUND):
        raise Unreadable("invalid_workbook", "it has a password, or is of the old format of Excel or Word (.xls, .doc)")
    else:
        yield first
        yield from chunks


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """All members of a gzip file, in pieces of at most `_PIECE_BYTES`."""
    packed, written = ChunkFile(chunks), 0
    try:
        with gzip.GzipFile(fileobj=io.BufferedReader(packed, BUFFER_BYTES)) as file:
            while piece := file.read1(_PIECE_BYTES):
                written += len(piece)
                refuse_bomb(packed.read_bytes, written)
                yield piece
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise Unreadable("invalid_gzip") from error


def refuse_bomb(read: int, written: int) -> None:
    grown = written > RATIO_FROM_BYTES and written > read * MAX_RATIO
    if grown or written > MAX_DECOMPRESSED_BYTES:
        raise Unreadable("decompression_bomb")


@contextmanager
def spooled(chunks: Iterable[bytes]) -> Iterator[tempfile.SpooledTemporaryFile[bytes]]:
    """The bytes in a file that can be read from its end, where zip and Parquet have their index."""
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
        for chunk in chunks:
            file.write(chunk)
        file.seek(0)
        yield file


def _unzip(file: tempfile.SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = (info for info in archive.infolist() if not info.is_dir())
            files = [info for info in infos if not _OF_SYSTEMS.fullmatch(info.filename)]
            if len(files) != 1:
                raise Unreadable("zip_files", str(len(files)))
            yield from _limited(inflated(archive, files[0]), size)
    except ZIP_ERRORS as error:
        detail = "it is encrypted" if "password" in str(error) else "it is damaged or cut off"
        raise Unreadable("invalid_zip", detail) from error


def inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of an entry, to the end of its data: the size that is said may be less. Raises as `zipfile` does."""
    info.file_size = 2**62
    with archive.open(info) as member:
        while piece := member.read(_PIECE_BYTES):
            yield piece


def _limited(pieces: Iterable[bytes], packed: int | None) -> Iterator[bytes]:
    """`packed`: the size they are compared with; None if they grow by what they are written as."""
    written = 0
    for piece in pieces:
        written += len(piece)
        refuse_bomb(written if packed is None else packed, written)
        yield piece
