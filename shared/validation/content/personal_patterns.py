"""How each kind of personal data looks. A number must pass its check digit, or needs a label before it or a form of its
own, and is dropped where the words before it name something else (a part, an order, a version)."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import phonenumbers
import re2

from shared.domain.beside import read_beside
from shared.validation.content.pattern_set import PATTERNS, PatternSet

IBAN_LENGTHS: dict[str, int] = {
    country: int(length) for length, countries in PATTERNS["iban_lengths"].items() for country in countries.split()
}
_CARDS = [
    (*starts.split("-"), [*map(int, lengths.split())])
    for lengths, ranges in PATTERNS["card_lengths"].items()
    for starts in ranges.split()
]
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    values = [int(digit) for digit in reversed(number)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def card_issuer(number: str) -> bool:
    """Whether a card scheme issues numbers of this start and length (ISO/IEC 7812 ranges of the large schemes)."""
    if len(number) == 13 and ean(number):  # printed on any product; cards with 13 digits are hardly issued
        return False
    return any(first <= number[:4] <= last and len(number) in lengths for first, last, lengths in _CARDS)


def ean(number: str) -> bool:
    """GS1 General Specifications, 7.9: every other digit before the last counts three times."""
    values = [int(digit) for digit in reversed(number)]
    return (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: the country's length, and the number modulo 97 is 1 (ISO 7064)."""
    if len(number) != IBAN_LENGTHS.get(number[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


def nhs_number(number: str) -> bool:
    """NHS data dictionary: ten digits, weights 10 to 1, the sum is a multiple of 11; ten equal digits are invalid."""
    total = sum(weight * int(digit) for weight, digit in zip(range(10, 0, -1), number, strict=True))
    return total % 11 == 0 and len(set(number)) > 1


def us_ssn(number: str) -> bool:
    """Nine digits that the Social Security Administration may have issued (rules since 2011)."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


Span = tuple[int, int]


class Detector(NamedTuple):
    """`trigger`: an RE2 pattern that matches wherever `find` can, by which it is decided whether to run it."""

    kind: str
    placeholder: str
    trigger: str
    find: Callable[[str], Iterable[Span]]


_TABLES = read_beside(__file__)


def _filled(pattern: str | list[str]) -> str:
    """The text of a pattern, with the parts that it names in braces."""
    parts: dict[str, str | list[str]] = _TABLES["parts"]
    return re.sub(r"\{([a-z_]+)\}", lambda part: _filled(parts[part[1]]), "".join(pattern))


_PATTERNS = {name: re.compile(_filled(pattern)) for name, pattern in _TABLES["patterns"].items()}
_NO_GROUPS = re2.Options()
_NO_GROUPS.never_capture = True  # twice as fast
_BEGINS = {name: re2.compile(_filled(pattern), _NO_GROUPS) for name, pattern in _TABLES["begins"].items()}
IN_WORDS: dict[str, str] = _TABLES["words"]  # of kinds whose names are none
_LOOK_BACK = 48
_QUESTION, _SHORT_NUMBER = 300, 15  # characters of a question that are looked at, and of a number, less than


def _names_something_else(text: str, start: int) -> bool:
    beside = _PATTERNS["other_number"].search(text, max(0, start - _LOOK_BACK), start)
    return beside is not None or _is_of_thing(text, start)


def _is_of_thing(text: str, start: int) -> bool:
    """Whether numbers alone are the text up to here, and the one before, a question, asks for those of things."""
    line = text.rfind("\n", 0, start) + 1
    if start - line > _QUESTION or any(map(str.isalpha, text[line:start])):
        return False
    question = text[max(text.rfind("\n", 0, max(line - 1, 0)) + 1, line - _QUESTION) : max(line - 1, 0)]
    return bool(_PATTERNS["thing_number"].search(question) and not _PATTERNS["person_number"].search(question))


def _digits(value: str) -> str:
    return "".join(filter(str.isdigit, value))


def _digits_pass(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda value: check(_digits(value))


def _begins(name: str, text: str) -> Iterator[int]:
    """Where an RE2 pattern over ASCII matches; other characters are read as `?`, so places stay the same. RE2 goes over
    a text several times faster than `re`, which then looks only at these places."""
    return (match.start() for match in _BEGINS[name].finditer(text.encode("ascii", "replace")))


def _matches(name: str, text: str) -> Iterator[re.Match[str]]:
    """Of a pattern that has both forms."""
    return filter(None, (_PATTERNS[name].match(text, start) for start in _begins(name, text)))


def _spans(name: str, text: str, accept: Callable[[str], bool], group: int = 0) -> Iterator[Span]:
    return (match.span(group) for match in _PATTERNS[name].finditer(text) if accept(match[group]))


def _payment_cards(text: str) -> Iterator[Span]:
    for match in _PATTERNS["card"].finditer(text):
        number = _digits(match[0])
        is_other = len(number) < 16 and _names_something_else(text, match.start())
        if card_issuer(number) and luhn(number) and not is_other:
            yield match.span()


_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(IBAN_LENGTHS) + r")\d\d(?=[ -]?[A-Z0-9])", re.A)
_IBAN_OF = {
    length: re.compile(rf"[A-Z0-9]{{4}}(?:[ -]?[A-Z0-9]){{{length - 4}}}(?![A-Za-z0-9])")
    for length in set(IBAN_LENGTHS.values())
}


def _ibans(text: str) -> Iterator[Span]:
    for head in _IBAN_HEAD.finditer(text):
        match = _IBAN_OF[IBAN_LENGTHS[head[0][:2]]].match(text, head.start())
        if match and iban(match[0].replace(" ", "").replace("-", "")):
            yield match.span()


def _us_ssns(text: str) -> Iterator[Span]:
    accept = _digits_pass(us_ssn)
    yield from _spans("labeled_ssn", text, accept, 1)
    yield from (span for span in _spans("ssn", text, accept) if not _names_something_else(text, span[0]))


def _phone_is_named(text: str, start: int) -> bool:
    label = _PATTERNS["phone_label"].search(text, max(0, start - _LOOK_BACK), start)
    return label is not None and not _is_of_thing(text, start)  # "ring" and "called" end such questions too


def _nhs_numbers(text: str) -> Iterator[Span]:
    accept = _digits_pass(nhs_number)
    yield from _spans("labeled_nhs", text, accept, 1)
    for start, end in _spans("nhs", text, accept):
        dashed = text[start + 3] == "-" and _is_phone(text[start:end], "US")  # one telephone number in eleven passes
        if not dashed and not _names_something_else(text, start) and not _phone_is_named(text, start):
            yield start, end


_MAX_CHECKED = 100
_LEADING_ZERO_REGIONS = ("GB", "DE", "FR", "AU", "NL", "BE", "CH", "AT", "IE", "SE", "IT", "NZ", "ZA", "JP", "IN")


def _is_phone(value: str, *regions: str | None) -> bool:
    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(value, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def _clear_phones(text: str) -> Iterator[Span]:
    """With a plus or after a label: what the number may be is asked generously."""
    checked = 0
    for found in _matches("international", text):
        if found[0].startswith("+"):
            digits = _digits(found[0])
            accepted = any(int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))
        else:
            checked += 1
            accepted = not _names_something_else(text, found.start()) and (
                checked > _MAX_CHECKED or _is_phone("+" + found[0][2:], None)
            )
        if accepted:
            yield found.span()
    for label in _begins("phone", text):
        number = _PATTERNS["first_digit"].search(text, label, label + _LOOK_BACK)
        match = _PATTERNS["phone"].match(text, number.start()) if number else None
        if match and _phone_is_named(text, match.start()) and not _PATTERNS["date_start"].match(match[0]):
            yield match.span()


def _bare_phones(text: str) -> Iterator[Span]:
    checked = 0
    for found, regions in _bare_phone_forms(text):
        if not _names_something_else(text, found.start()):
            checked += 1
            # To ask the library takes long; a text with this many is a list of them.
            if checked > _MAX_CHECKED or _is_phone(found[0], *regions):
                yield found.span()


def _bare_phone_forms(text: str) -> Iterator[tuple[re.Match[str], tuple[str, ...]]]:
    """With the regions whose numbers look like that."""
    yield from ((found, ("US",)) for found in _matches("north_american", text))
    for found in _matches("leading_zero", text):
        if 9 <= len(_digits(found[0])) <= 12 and not _PATTERNS["date_start"].match(found[0]):
            yield found, _LEADING_ZERO_REGIONS


_FILE_ENDINGS = frozenset("png jpg jpeg gif svg webp css js json py html pdf txt zip".split())  # noqa: SIM905


def _emails(text: str) -> Iterator[Span]:
    return (found.span() for found in _matches("email", text) if found[1].lower() not in _FILE_ENDINGS)


def _is_public(value: str) -> bool:
    """Addresses of private networks, of the own machine and of documentation identify no person."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _ipv4s(text: str) -> Iterator[Span]:
    for start, end in _spans("ipv4", text, _is_public):
        value = text[start:end]
        # Four small numbers are rather a section or a version.
        if len(value) > len("1.2.3.4") and not _names_something_else(text, start):
            yield start, end


def _ipv6s(text: str) -> Iterator[Span]:
    # All public addresses begin with 2 or 3 (2000::/3); a clock time may look like another.
    return _spans("ipv6", text, lambda value: value[0] in "23" and value.find(":") == 4 and _is_public(value))


def is_number_of_thing(field: str, value: str) -> bool:
    """Whether a field is named for the number of a part, an order and the like, and its value is nothing more."""
    text = f"{field.replace('_', ' ')}\n{value}"
    return len(value) < _SHORT_NUMBER and value[:1].isdigit() and _is_of_thing(text, len(text))


DateScope = Literal["clinical", "other", "undecided"]
_CHARACTERS_A_WORD = 500  # of clinical text, at most, for each different word of the clinic
_SENTENCE = 160  # characters looked at on each side
_SENTENCE_ENDS = (". ", "! ", "? ", "\n")


def dates_in(text: str) -> Iterator[Span]:
    """All dates, whatever they are of."""
    return (found.span(found.lastindex or 0) for found in _matches("date", text))


class _Words(NamedTuple):
    """How many different words a text has of the clinic, of contracts and news, and of trade and machines."""

    clinical: int
    other: int
    business: int
    alone: bool  # whether a word of the clinic is used nowhere else

    @property
    def scope(self) -> DateScope:
        """Where each word of the clinic may be of a contract ("discharged", "admission"), it takes more than twice as
        many, and more than there are words of trade and machines."""
        bar = self.other if self.alone else 2 * self.other + self.business
        if self.clinical > bar:
            return "clinical"
        return "other" if self.other + self.business > self.clinical else "undecided"


@cache
def _word_set() -> PatternSet:
    """Compiled where the first date is: that takes as long as to import all others."""
    words = ((name, word) for name, lines in PATTERNS["dates"].items() for line in lines for word in line.split(" | "))
    return PatternSet({f"{name} {word}": rf"\b(?:{word})\b" for name, word in words})


@lru_cache(maxsize=2)
def _words(text: str) -> _Words:
    hits = Counter(hit.partition(" ")[0] for hit in _word_set().hits(text.lower()))
    alone, also = hits["clinical"], hits["also_clinical"]
    clinical = alone + also + (hits["slightly_clinical"] + bool(alone + also)) // 2
    if clinical * _CHARACTERS_A_WORD < len(text):
        clinical = 0
    return _Words(clinical, hits["not_clinical"], hits["business"], bool(alone))


def date_scope(text: str) -> DateScope:
    """Whether dates in the text of a row are of the clinic; undecided: the other rows of the file tell."""
    scope = _words(text).scope
    return "other" if scope == "undecided" and next(dates_in(text), None) is None else scope


def _clinical_dates(text: str) -> Iterator[Span]:
    """Dates of clinical text, but for those in its sentences of trade and machines."""
    row = _words(text)
    if row.scope == "clinical":
        others = row.other + row.business
        yield from (span for span in dates_in(text) if not others or _is_beside(text, span, row.clinical > others))


def _is_beside(text: str, span: Span, mostly: bool) -> bool:
    """Whether a date is beside words of the clinic. `mostly`: they are most of the whole text."""
    sentence = _words(_sentence(text, *span))
    if sentence.clinical or sentence.business:
        return sentence.clinical > sentence.business
    return mostly or _words(text[max(0, span[0] - _SENTENCE) : span[1] + _SENTENCE]).scope == "clinical"


def _sentence(text: str, start: int, end: int) -> str:
    first, last = max(0, start - _SENTENCE), end + _SENTENCE
    for stop in _SENTENCE_ENDS:
        first = max(first, text.rfind(stop, first, start))
        found = text.find(stop, end, last)
        if found >= 0:
            last = found
    return text[first:last]


def _labeled(name: str) -> Callable[[str], Iterator[Span]]:
    """The last group that matched is the value."""
    return lambda text: (match.span(match.lastindex or 0) for match in _PATTERNS[name].finditer(text))


def _detector(
    kind: str, placeholder: str, find: Callable[[str], Iterable[Span]], trigger: str | None = None
) -> Detector:
    return Detector(kind, placeholder, _filled(_TABLES["triggers"][trigger or kind]), find)


# In order of precedence: where two overlap, the first keeps the characters.
DETECTORS = (
    _detector("email", "EMAIL", _emails),
    _detector("iban", "IBAN", _ibans),
    _detector("payment_card", "CARD", _payment_cards),
    _detector("passport", "PASSPORT", _labeled("passport")),
    _detector("driving_license", "LICENCE", _labeled("license")),
    _detector("medical_record_number", "MRN", _labeled("mrn")),
    _detector("us_ssn", "SSN", _us_ssns),
    _detector("phone", "PHONE", _clear_phones),
    _detector("nhs_number", "NHS", _nhs_numbers),
    _detector("date_of_birth", "DOB", lambda text: (found.span("date") for found in _matches("birth_date", text))),
    _detector("clinical_date", "DATE", _clinical_dates),
    _detector("ipv4", "IP", _ipv4s),
    _detector("ipv6", "IP", _ipv6s),
    _detector("phone", "PHONE", _bare_phones, "bare_phone"),
)
