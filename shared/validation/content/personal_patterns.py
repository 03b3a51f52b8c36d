"""How each kind of personal data looks, and which look-alikes are ruled out.

Numbers with a check digit must pass it. Numbers without one need a label before them or a form of their own, and are
dropped where the words before them name something else (a part, an order, a version).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import phonenumbers
import re2

from shared.validation.content import checksums
from shared.validation.content.pattern_set import PATTERNS, PatternSet

Span = tuple[int, int]


class Detector(NamedTuple):
    """`trigger` is an RE2 pattern that matches wherever `find` can: it decides, in one pass with all others, whether
    `find` runs at all."""

    kind: str
    placeholder: str
    trigger: str
    find: Callable[[str], Iterable[Span]]


# Not inside a longer word, number or decimal.
_START = r"(?<![\w])(?<!\w-)(?<!\d[.,:/])"
_END = r"(?![\w])(?!-\w)(?![.,:/]\d)"
_SEPARATOR = r"[ \u00a0.-]"
_LOOK_BACK = 48
_OTHER_NUMBER = re.compile(
    r"(?:\b(?:part|spare|order|invoice|ticket|serial|sku|p/?n|s/?n|(?-i:PO|WO|SO)|lot|batch|item|model|catalog(?:ue)?"
    r"|article|asset|isbn|tracking|reference|ref|version|firmware|driver|build|release|revision|rev|software|section"
    r"|table|figure|chapter|page|commit|kernel|drawing|dwg|barcode|ean|gtin|upc|imei|offset|latitude|longitude|docket|counter|meter|reading)\b"
    r"(?: ?(?:no|nr|num)\b\.)?[^\n.!?]{0,12}"
    r"|\b(?:bearing|belt|bolt|bosch|brake|cable|fag|festo|filter|gasket|hose|injector|motor|nut|pump|relay|ring|screw|seal|sensor"
    r"|siemens|skf|spring|switch|valve|washer)s?\b[ #]{1,2}|\bv)$",
    re.I,
)


def _names_something_else(text: str, start: int) -> bool:
    return _OTHER_NUMBER.search(text, max(0, start - _LOOK_BACK), start) is not None


def _digits(value: str) -> str:
    return "".join(filter(str.isdigit, value))


def _starts(candidate: Any, text: str) -> Iterator[int]:
    """Where an RE2 pattern over ASCII matches; other characters are read as `?`, so places stay the same.

    RE2 goes over a text several times faster than `re`, which then looks only at these places.
    """
    return (match.start() for match in candidate.finditer(text.encode("ascii", "replace")))


def _matches(candidate: Any, pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for start in _starts(candidate, text):
        match = pattern.match(text, start)
        if match:
            yield match.span()


def _spans(pattern: re.Pattern[str], text: str, accept: Callable[[str], bool] = bool, group: int = 0) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if accept(match[group]):
            yield match.span(group)


# Payment cards: 13 to 19 digits, whole or in the groups that are printed on cards.
_CARD = re.compile(
    rf"{_START}(?:\d{{13,19}}|\d{{4}}({_SEPARATOR})\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?"
    rf"|\d{{4}}({_SEPARATOR})\d{{6}}\2\d{{4,5}}){_END}",
    re.A,
)


def _payment_cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        number = _digits(match[0])
        is_other = len(number) < 16 and _names_something_else(text, match.start())
        if checksums.card_issuer(number) and checksums.luhn(number) and not is_other:
            yield match.span()


_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(checksums.IBAN_LENGTHS) + r")\d\d(?=[ -]?[A-Z0-9])", re.A)
_IBAN_OF = {
    length: re.compile(rf"[A-Z0-9]{{4}}(?:[ -]?[A-Z0-9]){{{length - 4}}}(?![A-Za-z0-9])")
    for length in set(checksums.IBAN_LENGTHS.values())
}


def _ibans(text: str) -> Iterator[Span]:
    for head in _IBAN_HEAD.finditer(text):
        match = _IBAN_OF[checksums.IBAN_LENGTHS[head[0][:2]]].match(text, head.start())
        if match and checksums.iban(match[0].replace(" ", "").replace("-", "")):
            yield match.span()


_SSN = re.compile(rf"{_START}\d{{3}}-\d{{2}}-\d{{4}}{_END}", re.A)
_LABELED_SSN = re.compile(
    rf"\b(?:ssn|social security|soc\.? sec)\b[^\d\n]{{0,16}}(\d{{3}}[ -]?\d{{2}}[ -]?\d{{4}}){_END}", re.I | re.A
)


def _us_ssns(text: str) -> Iterator[Span]:
    def accept(value: str) -> bool:
        return checksums.us_ssn(_digits(value))

    yield from _spans(_LABELED_SSN, text, accept, 1)
    for start, end in _spans(_SSN, text, accept):
        if not _names_something_else(text, start):
            yield start, end


_NHS = re.compile(rf"{_START}\d{{3}}([ -])\d{{3}}\1\d{{4}}{_END}", re.A)
_LABELED_NHS = re.compile(rf"\bnhs\b[^\d\n]{{0,16}}(\d{{3}}[ -]?\d{{3}}[ -]?\d{{4}}){_END}", re.I | re.A)
_PHONE_WORDS = r"(?i)\b(?:tel|phone|ph\b|mob|cell|fax|call|ring|rang|reach|contact|whatsapp|sms|text|dial)|telephone"
_PHONE_LABEL = re.compile(
    r"(?:\b(?:tel(?:ephone)?|(?:tele)?phoned?|ph|mobile|mob|cell|fax|call(?:ed)?|ring|rang|contact|whatsapp|sms)\b"
    r"[^\w\n]{0,4}(?:(?:no|number|nr)\b)?[^\w\n]{0,3}(?:is )?"
    r"|\b(?:call|ring|reach|contact|phone|text|dial)\b[^\n.!?]{0,28}\b(?:on|at)[: ]{1,2})\(?$",
    re.I,
)


def _phone_is_named(text: str, start: int) -> bool:
    return _PHONE_LABEL.search(text, max(0, start - _LOOK_BACK), start) is not None


def _nhs_numbers(text: str) -> Iterator[Span]:
    def accept(value: str) -> bool:
        return checksums.nhs_number(_digits(value))

    yield from _spans(_LABELED_NHS, text, accept, 1)
    for start, end in _spans(_NHS, text, accept):
        dashed = text[start + 3] == "-" and _is_phone(text[start:end], "US")  # one telephone number in eleven passes
        if not dashed and not _names_something_else(text, start) and not _phone_is_named(text, start):
            yield start, end


# Phone numbers: with a country code, in the form of North America, with a leading zero and groups, or after a label.
_INTERNATIONAL = re.compile(rf"(?<![\w+.])(?:\+|00(?=[1-9]))\d(?:[ \u00a0.()/-]{{0,3}}\d){{6,14}}{_END}", re.A)
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}(?![\w])(?![.-]\d)", re.A
)
_LEADING_ZERO = re.compile(
    rf"(?<![\w.+/:-])(?<!\d )(?<!\b[A-Z] )\(?0\d{{1,4}}\)?(?:[ \u00a0./-]{{1,3}}\d{{2,8}}){{1,5}}{_END}", re.A
)
_PREFIX = r"\+\d|\b00[1-9]"
_INTERNATIONAL_START = re2.compile(_PREFIX)
_NORTH_AMERICAN_START = re2.compile(r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}")
_LEADING_ZERO_START = re2.compile(r"\(?\b0\d{1,4}\)?[ ?./-]{1,3}\d\d")
_PHONE_WORD = re2.compile(_PHONE_WORDS)
_FIRST_DIGIT = re.compile(r"\(?\d", re.A)
_PLAIN = re.compile(rf"{_START}\(?\d(?:[ \u00a0.()-]{{0,2}}\d){{6,13}}{_END}", re.A)
_DATE_START = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:19|20)?\d\d(?![\d./-])", re.A)
_MAX_CHECKED = 100
_LEADING_ZERO_REGIONS = ("GB", "DE", "FR", "AU", "NL", "BE", "CH", "AT", "IE", "SE", "IT", "NZ", "ZA", "JP", "IN")


def _has_country_code(digits: str) -> bool:
    return any(int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))


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
    for start, end in _matches(_INTERNATIONAL_START, _INTERNATIONAL, text):
        value = text[start:end]
        if value[0] == "+":
            accepted = _has_country_code(_digits(value))
        else:
            checked += 1
            accepted = not _names_something_else(text, start) and (
                checked > _MAX_CHECKED or _is_phone("+" + value[2:], None)
            )
        if accepted:
            yield start, end
    for label in _starts(_PHONE_WORD, text):
        number = _FIRST_DIGIT.search(text, label, label + _LOOK_BACK)
        match = _PLAIN.match(text, number.start()) if number else None
        if match and _phone_is_named(text, match.start()) and not _DATE_START.match(match[0]):
            yield match.span()


def _bare_phones(text: str) -> Iterator[Span]:
    checked = 0
    for start, end, regions in _bare_phone_forms(text):
        if not _names_something_else(text, start):
            checked += 1
            # To ask the library takes long; a text with this many is a list of them.
            if checked > _MAX_CHECKED or _is_phone(text[start:end], *regions):
                yield start, end


def _bare_phone_forms(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Place, and the regions whose numbers look like that."""
    for start, end in _matches(_NORTH_AMERICAN_START, _NORTH_AMERICAN, text):
        yield start, end, ("US",)
    for start, end in _matches(_LEADING_ZERO_START, _LEADING_ZERO, text):
        value = text[start:end]
        if 9 <= len(_digits(value)) <= 12 and not _DATE_START.match(value):
            yield start, end, _LEADING_ZERO_REGIONS


_EMAIL = re.compile(
    r"\w(?:[\w.+%'-]{0,62}[\w+-])?@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24})(?![\w-])(?!\.\w)(?!:\w)"
)
_EMAIL_START = re2.compile(r"[A-Za-z0-9_?][A-Za-z0-9_.+%'?-]{0,63}@")
_FILE_ENDINGS = frozenset("png jpg jpeg gif svg webp css js json py html pdf txt zip".split())  # noqa: SIM905


def _emails(text: str) -> Iterator[Span]:
    for start in _starts(_EMAIL_START, text):
        match = _EMAIL.match(text, start)
        if match and match[1].lower() not in _FILE_ENDINGS:
            yield match.span()


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-])(?!\.\d)", re.A)
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-fA-F]{1,4}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:])", re.A)


def _is_public(value: str) -> bool:
    """Addresses of private networks, of the own machine and of documentation identify no person."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _ipv4s(text: str) -> Iterator[Span]:
    for start, end in _spans(_IPV4, text, _is_public):
        value = text[start:end]
        # Four small numbers are rather a section or a version.
        if len(value) > len("1.2.3.4") and not _names_something_else(text, start):
            yield start, end


def _ipv6s(text: str) -> Iterator[Span]:
    # All public addresses begin with 2 or 3 (2000::/3); a clock time may look like another.
    return _spans(_IPV6, text, lambda value: value[0] in "23" and value.find(":") == 4 and _is_public(value))


_NUMBER_WORD = r"(?:[ ]?(?:no|nr|num|number|id|#)\b\.?)?"
_MRN = re.compile(
    r"\b(?:mrn|med(?:ical)?\.? rec(?:ord)?s?|hospital (?=no|nr|num|id)|hosp\.? (?=no|nr|num)"
    rf"|patient (?=id|no\b|number)|chart (?=no|num|#)){_NUMBER_WORD}"
    r"[ ,:#=.]{1,4}(?:is )?([A-Za-z]{0,3}-?\d(?:[ -]?\d){4,11})(?!\w)",
    re.I | re.A,
)
_PASSPORT = re.compile(
    rf"\b(?i:(?:passport|reisepass){_NUMBER_WORD})[ ,:#=.]{{1,4}}(?:is )?((?=(?:[A-Z]*\d){{3}})[A-Z0-9]{{6,10}})(?!\w)",
    re.A,
)
# Britain's has a form of its own: name, date of birth (a woman's month plus 50), initials, check letters.
_BRITISH_LICENSE = r"\b[A-Z][A-Z9]{4}\d[0156]\d[0-3]\d\d[A-Z][A-Z9]\d[A-Z]{2}\b"
_LICENSE_TRIGGER = rf"(?i:driv(ing|er'?s?).licen|\bdl ?(#|:|no|num))|{_BRITISH_LICENSE}"
_LICENSE = re.compile(
    rf"\b(?i:(?:driv(?:er'?s?|ing) licen[cs]e|dl(?= ?(?:#|:|no\b|num))){_NUMBER_WORD})[ ,:#=.]{{1,4}}(?:is )?"
    rf"((?=(?:[A-Z -]*\d){{4}})[A-Z0-9]{{4,18}}(?:[ -](?=[A-Z]*\d)[A-Z0-9]{{2,6}}){{0,4}})(?!\w)|({_BRITISH_LICENSE})",
    re.A,
)

# Dates.
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_TWO_DIGITS = r"(?:0[1-9]|[12]\d|3[01])"
_DATE = (
    rf"(?:{_YEAR}(?P<a>[-/.])(?:0?[1-9]|1[0-2])(?P=a){_DAY}(?!\d)"
    rf"|{_DAY}(?P<b>[-/.]){_DAY}(?P=b){_YEAR}(?!\d)(?!(?P=b)\d)"
    rf"|{_DAY}/{_DAY}/\d\d(?![\d/])|{_TWO_DIGITS}(?P<c>[-.]){_TWO_DIGITS}(?P=c)\d\d(?!\d)(?!(?P=c)\d)"
    rf"|{_DAY}-{_MONTH}-\d\d(?!\d)|{_DAY}(?:st|nd|rd|th)?(?: of)?[ -]{_MONTH}\.?,?[ -]{_YEAR}(?!\d)"
    rf"|{_MONTH}\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}(?!\d))"
)
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE_TRIGGER = (
    r"\b(?:\d{1,4}[-/.]\d{1,2}[-/.]\d\d"
    rf"|(?i:\d{{1,2}}(?:st|nd|rd|th)?(?: of)?[ -]{_MONTHS}(?:\.?,?[ -](?:19|20)|-)\d\d"
    rf"|{_MONTHS}\.? \d{{1,2}}[a-z]{{0,2}},? (?:19|20)\d\d))"
)
_ANY_DATE = re.compile(rf"(?<![\w.:/@-]){_DATE}(?![\w-])", re.I | re.A)
_DATE_CANDIDATE = re2.compile(_DATE_TRIGGER)
_BIRTH_WORD = re2.compile(r"(?i)\b(?:d\.?o\.?b|date of birth|birth|born|geb)")
_BIRTH_DATE = re.compile(
    r"\b(?:d\.?o\.?b\b\.?|(?:date of birth|birth ?date|birthday|born|geboren|geb\.)(?: (?:is|was|on|the))?)"
    rf"[ :=(-]{{1,4}}(?P<date>{_DATE})(?!\w)",
    re.I | re.A,
)
_DATES = PATTERNS["dates"]
_CLINICAL_WORDS, _CLINICAL_ALONE, _OTHER_WORDS, _BUSINESS_WORDS = (
    PatternSet({word: rf"(?i)\b(?:{word})\b" for name in names for word in _DATES[name]})
    for names in (("clinical", "also_clinical"), ("clinical",), ("not_clinical",), ("business",))
)
_SENTENCE = 160  # characters looked at on each side
_SENTENCE_ENDS = (". ", "! ", "? ", "\n")


def _birth_dates(text: str) -> Iterator[Span]:
    for start in _starts(_BIRTH_WORD, text):
        match = _BIRTH_DATE.match(text, start)
        if match:
            yield match.span("date")


def _clinical_dates(text: str) -> Iterator[Span]:
    """Full dates beside words of the clinic, more than of trade and machines; of clinical text only."""
    if not _is_clinical(text, len(_CLINICAL_WORDS.hits(text))):
        return
    for start, end in _matches(_DATE_CANDIDATE, _ANY_DATE, text):
        sentence, around = _sentence(text, start, end), text[max(0, start - _SENTENCE) : end + _SENTENCE]
        words, others = len(_CLINICAL_WORDS.hits(sentence)), len(_BUSINESS_WORDS.hits(sentence))
        if words > others or (not others and _is_clinical(around, len(_CLINICAL_WORDS.hits(around)))):
            yield start, end


def _is_clinical(text: str, words: int) -> bool:
    """Whether words of the clinic, `words` different ones, outnumber those of contracts and news.

    Where each of them may be of a contract ("discharged", "admission"), it takes more than twice as many, and two where
    words of trade or machines stand beside them.
    """
    if not words:
        return False
    others = len(_OTHER_WORDS.hits(text))
    return words > others if _CLINICAL_ALONE.hits(text) else words > 2 * others + bool(_BUSINESS_WORDS.hits(text))


def _sentence(text: str, start: int, end: int) -> str:
    first, last = max(0, start - _SENTENCE), end + _SENTENCE
    for stop in _SENTENCE_ENDS:
        first = max(first, text.rfind(stop, first, start))
        found = text.find(stop, end, last)
        if found >= 0:
            last = found
    return text[first:last]


def _labeled(pattern: re.Pattern[str]) -> Callable[[str], Iterator[Span]]:
    """The last group that matched is the value."""
    return lambda text: (match.span(match.lastindex or 0) for match in pattern.finditer(text))


# In order of precedence: where two overlap, the first keeps the characters.
DETECTORS = (
    Detector("email", "EMAIL", r"[\pL\pN_+-]@[\pL\pN]", _emails),
    Detector("iban", "IBAN", r"[A-Z][A-Z]\d\d[ -]?[A-Z0-9][A-Z0-9 -]{9}", _ibans),
    Detector(
        "payment_card", "CARD", r"\d{13}|\d{4}[^\d\n]\d{4}[^\d\n]\d{4}|\d{4}[^\d\n]\d{6}[^\d\n]\d{4}", _payment_cards
    ),
    Detector("passport", "PASSPORT", r"(?i)passport|reisepass", _labeled(_PASSPORT)),
    Detector("driving_license", "LICENCE", _LICENSE_TRIGGER, _labeled(_LICENSE)),
    Detector(
        "medical_record_number",
        "MRN",
        r"(?i)\bmrn\b|med[a-z]*\.? rec|(hospital|hosp\.?|patient|chart) (id|no\b|nr|num|#)",
        _labeled(_MRN),
    ),
    Detector("us_ssn", "SSN", r"\d{3}-\d\d-\d{4}|(?i:\bssn\b|social security|soc\.? sec)", _us_ssns),
    Detector("phone", "PHONE", rf"{_PREFIX}|{_PHONE_WORDS}", _clear_phones),
    Detector("nhs_number", "NHS", r"\d{3}[ -]\d{3}[ -]\d{4}|(?i:\bnhs\b)", _nhs_numbers),
    Detector("date_of_birth", "DOB", r"(?i)d\.?o\.?b\b|birth|\bborn\b|\bgeb", _birth_dates),
    Detector("clinical_date", "DATE", _DATE_TRIGGER, _clinical_dates),
    Detector("ipv4", "IP", r"\d\.\d{1,3}\.\d{1,3}\.\d", _ipv4s),
    Detector("ipv6", "IP", r"[0-9a-fA-F]:([0-9a-fA-F]{0,4}:)[0-9a-fA-F:]", _ipv6s),
    Detector("phone", "PHONE", r"\d{3}\)? ?[ .-]?\d{3}[ .-]\d{4}|\b0\d{1,4}\)?[ \x{a0}./-]{1,3}\d\d", _bare_phones),
)
