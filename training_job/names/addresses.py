"""Postal addresses by their form, without a model: American, British, Irish, Canadian, German, French and the like.

An address is a street with a number, a post-office box, or names before a British or Irish postal code. RE2 takes
linear time on any text.
"""

from __future__ import annotations

import re2

from training_job.names.words import WORDS

_NUMBER = r"(?:\d{1,5}(?:-\d{1,4})?[A-Za-z]?(?: (?:bis|ter))?)"
_NAME = r"(?:\p{Lu}[\p{L}\p{Mn}'\x{2019}.-]*)"
_ORDINAL = r"(?:West |East |North |South )?\d{1,3}(?:st|nd|rd|th)"
_SMALL = r"(?:(?:de la|de l'|de|del|du|des|of|na|the|van|von|la|le|der|den|am|upon) ?)"
_WORDS = rf"(?:{_NAME}(?: {_SMALL}?{_NAME}){{0,3}})"
_STREET = (
    r"(?:(?:County|State) (?:Road|Route|Highway) \d{1,4}|(?:Street|Avenue|Road|Lane|Drive|Boulevard|Court|Way|Parkway"
    r"|Place|Terrace|Square|Close|Crescent|Row|Gate|Hill|Grove|Mews|Highway|Plaza|Circle|Trail|Loop|View|Walk|Gardens"
    r"|Park|Quay|Wharf|Estate|Green|Rise|St|Ave|Rd|Ln|Dr|Blvd|Ct|Pkwy|Pl|Ter|Sq|Cres|Hwy|Cir|Trl)\b\.?)"
)
_DIRECTION = r"(?: (?:NE|NW|SE|SW|N|S|E|W|North|South|East|West)\b)?"
_UNIT = (
    r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Fl|Building|Bldg|Lot)\.? ?#?(?:[A-Z]|\d{1,4})-?[A-Z0-9]?\b"
    r"|# ?[A-Z0-9-]{1,6}\b|\d{1,2}º ?[A-Z]?)"
)
_STATE = (
    r"(?:A[BKLRZ]|BC|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ABDEINOST]|N[BCDEHJLMSVY]|O[HKNR]|PA|QC|RI|S[CDK]|T[NX]"
    r"|UT|V[AT]|W[AIVY])"
)
_BRITISH = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"
_IRISH = r"[A-Z]\d[\dW] [A-Z\d]{4}\b"
_CODE = (
    rf"(?:{_STATE},? \d{{5}}(?:-\d{{4}})?\b|(?:{_STATE},? )?[A-Z]\d[A-Z] ?\d[A-Z]\d\b|{_BRITISH}|{_IRISH}"
    r"|\d{4,6}(?:-\d{4})?\b)"
)
_CODE_TOWN = rf"(?:(?:[A-Z]{{1,2}}-)?(?:\d{{2}}-\d{{3}}|\d{{4,5}}) {_WORDS})"  # 75007 Paris, 31-147 Kraków
_LONG_CODE_TOWN = rf"(?:(?:\d{{2}}-\d{{3}}|\d{{5}}) {_WORDS})"
_STEP = r"(?:, ?|\n| )"
# What comes after the street: unit, district, town, and state or country with the code.
_PARTS = rf"(?:[,\n] ?{_WORDS}){{0,3}}"
_TAIL = rf"(?:,? {_UNIT})?(?:{_STEP}{_CODE_TOWN}|{_PARTS},? {_CODE}|{_PARTS})"
_ROUTE = (
    r"(?:rue|avenue|boulevard|place|chemin|quai|allée|impasse|route|cours|Rue|Avenue|Boulevard|Place|Chemin|Quai|Calle"
    r"|Avenida|Via|Viale|Piazza|Strada)"
)
_GERMAN = r"(?:\p{Lu}[\p{L} -]{0,30}(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|ufer|utca|út))"
_STREETS = (
    rf"(?:{_UNIT},? )?\b{_NUMBER},? (?:[NSEW]\.? )?(?:[Tt]he |{_WORDS} |{_ORDINAL} ){_STREET}{_DIRECTION}{_TAIL}",
    rf"(?:{_UNIT},? )?\b{_NUMBER},? {_ROUTE} {_SMALL}?{_WORDS}{_TAIL}",
    rf"{_GERMAN} {_NUMBER}\b(?:{_STEP}(?:{_CODE_TOWN}|{_WORDS}))?",
    rf"(?:ul\. |{_ROUTE} )?{_WORDS},? {_NUMBER},(?: [^,\n]{{1,12}},)? (?:{_LONG_CODE_TOWN}|{_WORDS},? \d{{5,6}}\b)",
    rf"(?:P\.? ?O\.? ?Box|Postfach) \d[\d ]{{0,10}}\b{_TAIL}",
    rf"\b{_WORDS} (?:Street|Avenue|Road|Lane|Boulevard), {_WORDS}(?:,? {_CODE})?",
)
_COUNTED = WORDS["counted"]
_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 * 2**20  # with less it matches at half the speed
_OPTIONS.log_errors = False
_FORMS = tuple(re2.compile(form, _OPTIONS) for form in _STREETS)
_BEFORE_CODE = re2.compile(
    rf"(?:[Tt]he )?{_WORDS}, (?:{_WORDS}, ){{0,2}}(?:Co\. )?{_WORDS} (?:{_BRITISH}|{_IRISH})"
    rf"|\d{{1,4}} {_WORDS}(?: na {_NAME})?, (?:{_WORDS}, ){{0,2}}(?:Co\. )?{_WORDS} (?:{_BRITISH}|{_IRISH})",
    _OPTIONS,
)


def addresses(text: str) -> list[tuple[int, int]]:
    """Start and end of each, in characters, in order; no two overlap. Where several forms fit, the one that reaches
    farthest counts."""
    found = sorted(match.span() for form in _FORMS for match in form.finditer(text))
    apart: list[tuple[int, int]] = []
    # Names before a code may be anybody's where a street with a number is there too.
    for start, end in [*found, *(match.span() for match in _BEFORE_CODE.finditer(text))]:
        if text[start:end].split(maxsplit=1)[0] in _COUNTED:
            continue
        inside = [(one, other) for one, other in apart if one < end and start < other]
        if not inside:
            apart.append((start, end))
        elif len(inside) == 1 and (start >= inside[0][0] or not text[inside[0][0]].isdigit()):
            apart.remove(inside[0])
            apart.append((min(start, inside[0][0]), max(end, inside[0][1])))
    return sorted(apart)
