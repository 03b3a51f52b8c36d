"""Text of other encodings, as Excel, PowerShell and Windows editors write it, as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence

from shared.validation.content.languages import language_of
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
# What Excel and editors write where they do not write Unicode: of Latin letters, the most frequent first, and others.
UNKNOWN = "ascii"
LEGACY = ("cp1252", "cp1250", "cp1254", "mac_roman", "cp1251", "cp1253", "cp932", "gb18030", "cp949", "big5")
# Languages of Latin letters with the encodings that have all of them.
_LATIN: dict[str, tuple[str, ...]] = {
    "tr": ("cp1254",),
    **dict.fromkeys(("bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq"), ("cp1250",)),
    **dict.fromkeys(("da", "de", "en", "es", "fr", "it", "nl", "nn", "no", "pt", "sv"), ("cp1252", "mac_roman")),
}
_JAPANESE, _HIRAGANA = "cp932", re.compile("[\u3041-\u3096]")
_LEAST = 8  # bytes beyond ASCII; fewer are a few accents and dashes
# Of disorder: twice the default, for rows are no prose; and what it counts that an encoding is not of the language.
_THRESHOLD, _OTHER_LANGUAGE = 0.4, 0.05
_WORDS_SHOWN, _WORD_CHARACTERS, _CHARACTERS_SHOWN = 3, 20, 12


def encoding_of(head: bytes, named: str = "") -> tuple[str, int]:
    """The encoding of text that begins so, and the length of its mark; an empty name for UTF-8 or no text.
    `named`: where it is none of Unicode.

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
    is_utf8 = head.startswith(codecs.BOM_UTF8) or (_begun(head, "utf-8") and not head.isascii())
    return "" if is_utf8 else named, 0


def guessed(lines: Sequence[bytes], among: Sequence[str] = LEGACY) -> tuple[str, str]:
    """The likeliest encoding of lines that are not UTF-8 (`UNKNOWN` if there is none), and some of their words.

    Where several are as likely, it is the first of `among`. Words with a capital may be names: characters are shown.
    """
    sample, name = b"\n".join(lines), among[0]
    if len(among) > 1 and sum(byte > 127 for byte in sample) >= _LEAST:
        name = _likeliest(sample, among) or name
    try:
        text = sample.decode(name)
    except UnicodeDecodeError:
        return UNKNOWN, ""
    words = (word for word in re.findall(r"\w+", text) if word.islower() and not word.isascii())
    shown = list(dict.fromkeys(word for word in words if len(word) <= _WORD_CHARACTERS))[:_WORDS_SHOWN]
    characters = "".join(dict.fromkeys(character for character in text if not character.isascii()))
    return name, ", ".join(shown) or characters[:_CHARACTERS_SHOWN]


def _likeliest(sample: bytes, among: Sequence[str]) -> str:
    """By the disorder of the text, of Latin letters in an encoding of its language; empty if there is none.

    Hiragana, which other encodings hardly have by chance, is Japanese, however few words there are.
    """
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=[*among], threshold=_THRESHOLD)
    best = found.best()
    if any(one.encoding == _JAPANESE and len(_HIRAGANA.findall(str(one))) >= _LEAST for one in found):
        return _JAPANESE
    if best is None or best.encoding not in LEGACY[:4]:
        return best.encoding if best else ""
    likely = (
        (one.chaos + _OTHER_LANGUAGE * (name not in _LATIN.get(language_of(str(one)), ())), among.index(name))
        for one in found
        for name in one.could_be_from_charset
    )
    return among[min(likely)[1]]


def _begun(head: bytes, name: str) -> str:
    """The characters of text that is cut off anywhere; empty if there are none."""
    try:
        return codecs.getincrementaldecoder(name)("surrogatepass").decode(head)
    except UnicodeDecodeError:
        return ""


def as_utf8(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Half a surrogate pair becomes bytes that are no UTF-8, so that only its row is refused. Raises Unreadable."""
    decoder = codecs.getincrementaldecoder(name)("surrogatepass" if name in _MARKS.values() else "strict")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode(errors="surrogatepass")
        yield decoder.decode(b"", final=True).encode(errors="surrogatepass")
    except UnicodeError as error:
        raise Unreadable("not_utf8", _DAMAGED.format(name[:6].upper() if name in _MARKS.values() else name)) from error
