"""Text of other encodings, as Excel, PowerShell and Windows editors write it, as UTF-8."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, starmap
from operator import itemgetter

from shared.domain.beside import read_beside
from shared.validation.content.languages import UNKNOWN as LANGUAGE_UNKNOWN
from shared.validation.content.languages import language_of
from shared.validation.lines import Unreadable, decoded

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
_TABLES = read_beside(__file__)
UNKNOWN, LEGACY = "ascii", tuple(_TABLES["legacy"].split())
_LATIN = {code: letters for codes, letters in _TABLES["latin"].items() for code in codes.split()}
_WINDOWS = "cp1252"  # the most common one
_SCRIPTS = {int(block): frequent for block, frequent in _TABLES["scripts"].items()}
_TWO_BYTES = {
    name: ({*chain(*starmap(range, found["first"]))}, found["least"]) for name, found in _TABLES["two_bytes"].items()
}
_SIGNS = frozenset("«»“”„‘’–—…€£¥¢©®™°§±×÷µ½¼¾¹²³·•¿¡ªº№\xa0")  # noqa: RUF001
_OPERATORS, _BEFORE_WORDS = frozenset("±×÷·¬"), frozenset("ØÅ¶†‡‰„‚ƒ")  # noqa: RUF001
_IN_WORDS, _OPENING, _BETWEEN = frozenset("’·\xa0"), frozenset("„«‘¿¡•§±×÷"), frozenset("–—")  # noqa: RUF001
_KANA, _LATIN_END = frozenset(map(chr, range(0x3041, 0x3100))), "\u0250"
_LATER, _LESS_COMMON, _LESS_FREQUENT, _OTHER_LANGUAGE, _RARE, _WRONG = 0.002, 0.05, 0.01, 0.15, 0.3, 0.5
_PRIOR = {name: n * _LATER + (n > LEGACY.index(_WINDOWS)) * _LESS_COMMON for n, name in enumerate(LEGACY)}
_WORDS_SHOWN, _WORD_CHARACTERS, _CHARACTERS_SHOWN = 3, 20, 12
_TOKEN = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")  # between blanks and the signs of ASCII


def encoding_of(head: bytes, named: str = "") -> tuple[str, int]:
    """The encoding of text that begins so (`named`, where it is none of Unicode), and the length of its mark; empty for
    UTF-8 or no text. Without a mark it is the one in which the head has a row's signs and no control characters. With a
    few null characters it is UTF-8: of letters of ASCII, UTF-16 makes every other byte zero."""
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


@lru_cache(maxsize=4)
def guessed(sample: bytes, among: Sequence[str] = LEGACY) -> tuple[str, str]:
    """The likeliest encoding of text that is not UTF-8 (`UNKNOWN`: none), and words that show it and are no names."""
    read = ((name, decoded(sample, name)) for name in among)
    costs = ((_cost(text, name) + _PRIOR.get(name, 0), text, name) for name, text in read if text)
    cost, text, name = min(costs, key=itemgetter(0), default=(1.0, "", UNKNOWN))
    count_by_character = Counter(character for character in text if not character.isascii())
    # One character may be anything, unless the most common encoding has it.
    if len(among) > 1 and (cost > _WRONG or (name != _WINDOWS and count_by_character.total() == 1)):
        return UNKNOWN, ""
    characters = [character for character, _ in count_by_character.most_common()]
    words = [word for word in _TOKEN.findall(text) if word.islower() and len(word) <= _WORD_CHARACTERS]
    shown = [word for character in characters for word in words if character in word]
    return name, ", ".join([*dict.fromkeys(shown)][:_WORDS_SHOWN]) or "".join(characters[:_CHARACTERS_SHOWN])


def _cost(text: str, name: str) -> float:
    """The share of characters beyond ASCII that no one language of the encoding has, or not at such a place."""
    letters, cost = Counter[str](), 0.0
    places = Counter(zip(f" {text}", text, f"{text[1:]} ", strict=False))
    count_by_place = {place: count for place, count in places.items() if not place[1].isascii()}
    for (before, one, after), count in count_by_place.items():
        if name == _WINDOWS and (one in _OPERATORS or (one in _BEFORE_WORDS and not before.isalpha())):
            continue
        if _is_misplaced(before, one, after):
            cost += count
        elif one < _LATIN_END and one.isalpha() and one not in _SIGNS:
            letters.update(dict.fromkeys(one.lower(), count))
        elif one not in _SIGNS:
            is_alone = not before.isalpha() and not after.isalpha()
            cost += count * (_rarity(one, name) + is_alone * _OTHER_LANGUAGE)
    of_language = language_of(text) if letters else ""
    strange = (
        sum(count * (known.find(one) * _LESS_FREQUENT if one in known else 1) for one, count in letters.items())
        + letters.total() * _OTHER_LANGUAGE * (of_language not in (code, LANGUAGE_UNKNOWN))
        for code, known in _LATIN.items()
    )
    return (cost + min(strange)) / max(1, sum(count_by_place.values()))


def _is_misplaced(before: str, one: str, after: str) -> bool:
    if one in _SIGNS:
        if one in _BETWEEN:
            return before.isalpha() != after.isalpha()
        return before.isalpha() and (one in _OPENING or (after.isalpha() and one not in _IN_WORDS))
    if one in "ςσ":
        return (one == "ς") == after.isalpha()
    beside_latin = any(other.isalpha() and other < _LATIN_END for other in (before, after))
    return (one.isupper() and before.islower()) or (one >= _LATIN_END and beside_latin)


def _rarity(one: str, name: str) -> float:
    if name in _TWO_BYTES:
        (first, least), raw = _TWO_BYTES[name], one.encode(name)
        return 0 if one in _KANA else _RARE / 2 if raw[0] in first and raw[-1] >= least else 1
    frequent = _SCRIPTS.get(ord(one) >> 8) if one.isprintable() else None
    return 1 if frequent is None else _RARE * (one.lower() not in frequent)


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
