"""Text of UTF-16 and UTF-32, as Excel, PowerShell and Windows editors write it, as UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from shared.validation.lines import Unreadable

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LOOKED_AT = 4096
_STRUCTURE = frozenset('{[",;\t|\n')  # rows of any format have one of these
_CONTROLS = frozenset(map(chr, range(32))) - set("\t\n\r\f")
_ZERO_SHARE = 4
_DAMAGED = "damaged or cut off text in {}"


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding of text that begins so, and the length of its mark; an empty name for UTF-8 or no text.

    Without a mark it is the one in which the head is text with a row's signs and without control characters. UTF-8 with
    a few null characters is UTF-8: of text in letters of ASCII, UTF-16 makes every other byte zero.
    """
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    head = head[:_LOOKED_AT]
    zeros = head.count(0)
    if zeros and (zeros * _ZERO_SHARE >= len(head) or not _begun(head, "utf-8")):
        for name in _MARKS.values():
            text = _begun(head, name)
            if not _STRUCTURE.isdisjoint(text) and _CONTROLS.isdisjoint(text):
                return name, 0
    return "", 0


def _begun(head: bytes, name: str) -> str:
    """The characters of text that is cut off anywhere; empty if there are none."""
    try:
        return codecs.getincrementaldecoder(name)("surrogatepass").decode(head)
    except UnicodeDecodeError:
        return ""


def as_utf8(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Half a surrogate pair becomes bytes that are no UTF-8, so that only its row is refused. Raises Unreadable."""
    decoder = codecs.getincrementaldecoder(name)("surrogatepass")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode(errors="surrogatepass")
        yield decoder.decode(b"", final=True).encode(errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise Unreadable("not_utf8", _DAMAGED.format(name[:6].upper())) from error
