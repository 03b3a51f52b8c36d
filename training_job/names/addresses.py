"""Postal addresses by their form, without a model: American, British, Irish, Canadian, Australian, and those of
countries that write the street before the number.

An address has a street with a number and a kind (Street, -straße, rue), a number before names and a postal code after
them, a post-office box, or names before a British or Irish code. RE2 takes linear time on any text.
"""

from __future__ import annotations

import re2

from training_job.names.words import WORDS

_NUMBER = r"(?:\d{1,6}[A-Za-z]?(?:[/-]\d{1,4}[A-Za-z]?){0,2}(?: (?:bis|ter)\b)?)"
_NAME = r"(?:(?:St|Ste|Mt|Ft|Co|Dr|Gen|Sta|Sto|Wm|\p{Lu})\.|\p{Lu}[\p{L}\p{Mn}'\x{2019}-]*)"  # no end of a sentence
_SMALL = r"(?:(?:de la|de l'|de|del|della|di|da|du|des|of|na|the|van|von|la|le|der|den|am|an der|im|sur|en|upon|aan) ?)"
_WORDS = rf"(?:{_NAME}(?: {_SMALL}?{_NAME}){{0,3}})"
_STREET = (
    r"(?:(?:Street|Avenue|Road|Lane|Drive|Boulevard|Court|Way|Parkway"
    r"|Place|Terrace|Square|Close|Crescent|Row|Gate|Hill|Grove|Mews|Highway|Plaza|Circle|Trail|Loop|View|Walk|Gardens"
    r"|Park|Quay|Wharf|Estate|Green|Rise|St|Ave|Rd|Ln|Dr|Blvd|Ct|Pkwy|Pl|Ter|Sq|Cres|Hwy|Cir|Trl)\b\.?)"
)
_ORDINAL = r"(?:West |East |North |South )?\d{1,3}(?:st|nd|rd|th)"
_DIRECTION = r"(?: (?:NE|NW|SE|SW|N|S|E|W|North|South|East|West)\b)?"
_UNIT = (
    r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Studio|Room|Rm|Floor|Fl|Building|Bldg|Lot|Puerta|Piso|Piano|Appartamento"
    r"|Interno|RR)\.? ?#?(?:\d{1,5}[A-Za-z]?|[A-Z]-?\d{0,3})\b|# ?[A-Z0-9-]{1,6}\b|\d{1,2}º ?[A-Z]?)"
)
_BRITISH = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"
_IRISH = r"[A-Z]\d[\dW] [A-Z\d]{4}\b"
_CANADIAN = r"(?:[A-Z]{2},? )?[A-Z]\d[A-Z] ?\d[A-Z]\d\b"
_AUSTRALIAN = r"(?:NSW|VIC|QLD|SA|WA|TAS|NT|ACT),? \d{4}\b"
_CODE = rf"(?:[A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?\b|{_CANADIAN}|{_AUSTRALIAN}|{_BRITISH}|{_IRISH})"
_LONG_CODE = r"(?:(?:[A-Z]{1,2}-)?(?:\d{5}|\d{2}-\d{3}|\d{3} \d{2}|\d{4} ?[A-Z]{2})\b)"
_STEP = r"(?: ?, ?\n?| ?\n)"
_LONG_CODE_TOWN = rf"(?:{_LONG_CODE}(?:{_STEP}| ){_WORDS}(?: \([A-Z]{{2}}\))?)"
_CODE_TOWN = rf"(?:{_LONG_CODE_TOWN}|\d{{4}} {_WORDS})"
_PARTS = rf"(?:{_STEP}{_WORDS}){{0,3}}"
_HOUSE = rf"(?:(?:The {_NAME}(?: {_NAME})?|{_WORDS} (?:House|Cottage|Lodge|Farm|Hall|Villa|Mill|Barn|Mansions)){_STEP})"
_START = rf"{_HOUSE}?(?:{_UNIT}(?:{_STEP}| ))?\b{_NUMBER}"
# What comes after the street: unit, district, town, and state or country with the code.
_TAIL = (
    rf"(?:,? {_UNIT})?(?:(?:{_STEP}| ){_CODE_TOWN}|{_PARTS}(?:{_STEP}| )(?:{_CODE}|\d{{4,6}}(?:-\d{{4}})?\b)|{_PARTS})"
)
_ROUTE = (
    r"(?:rue|avenue|boulevard|place|chemin|quai|allée|impasse|route|cours|Rue|Avenue|Boulevard|Place|Chemin|Quai|Calle"
    r"|C\.|Avenida|Paseo|Plaza|Ronda|Rambla|Camino|Cuesta|Glorieta|Via|Viale|Vicolo|Corso|Piazza|Strada|Rua|ul\."
    r"|Carrer|Passeig|Avinguda|Carretera|Travessa|Estrada|Alameda|Praça|Largo)"
)
_SUFFIX = (
    r"(?:(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|ufer|straat|laan|steeg|plein|gracht|dreef|singel|pad"
    r"|gatan|gata|vägen|veien|vej|katu|plads)|[ -](?:Straße|Str\.|Weg|Platz|Allee|Gasse|Ring|Damm|Ufer|utca|út|tér"
    r"|cesta|ulica|trg|gate|vei|väg))"
)
_FORMS = (
    rf"\b{_NUMBER} (?:(?:County|State|US) (?:Road|Route|Highway)|Highway|Route) \d{{1,4}}{_TAIL}",
    rf"{_UNIT}(?:{_STEP}| ){_WORDS}(?:{_STEP}{_WORDS}){{1,3}}(?:{_STEP}| ){_CODE}",
    rf"{_START},? (?:[NSEW]\.? )?(?:[Tt]he |{_WORDS} |{_ORDINAL} ){_STREET}{_DIRECTION}{_TAIL}",
    rf"{_START},? {_WORDS}(?:,? {_UNIT})?(?:{_STEP}{_WORDS}){{1,3}}(?:{_STEP}| ){_CODE}",
    rf"{_START},? {_ROUTE} {_SMALL}?{_WORDS}{_TAIL}",
    rf"\b{_ROUTE} {_SMALL}?{_WORDS},? {_NUMBER}\b(?: {_UNIT})?(?:(?:{_STEP}[^,\n]{{1,12}})?{_STEP}{_LONG_CODE_TOWN}"
    rf"|{_STEP}{_WORDS}(?:{_STEP}| )\d{{5,6}}\b)?",
    rf"\b{_ROUTE} {_SMALL}?{_WORDS}{_STEP}{_LONG_CODE_TOWN}",
    rf"(?:{_NAME} ){{0,2}}\p{{Lu}}[\p{{L}}-]*{_SUFFIX} {_NUMBER}\b"
    rf"(?:(?:{_STEP}[^,\n]{{1,12}})?(?:{_STEP}| ){_CODE_TOWN}|(?:{_STEP}| ){_WORDS})?",
    rf"\b(?:House|Plot|Villa|Shop)(?: No\.?)? \d{{1,4}}[A-Z]?(?:{_STEP}{_WORDS}(?: \d{{1,3}})?){{1,4}}[ -]\d{{4,6}}\b",
    rf"{_WORDS} {_NUMBER}\b(?: {_UNIT})?{_STEP}{_LONG_CODE_TOWN}",
    rf"{_WORDS} {_NUMBER}(?: {_UNIT})? ?, {_WORDS},? \d{{5,6}}\b",
    rf"{_WORDS}, {_NUMBER}(?: {_UNIT})?{_STEP}\d{{5}}(?:{_STEP}| ){_WORDS} \([A-Z]{{2}}\)",
    rf"(?:P\.? ?O\.? ?Box|Postfach) \d[\d ]{{0,10}}\b{_TAIL}",
    r"(?:PSC|CMR|Unit|US[A-Z]{1,3}) [\p{L}\d ,]{1,40}[,\n] ?(?:APO|FPO|DPO),? A[AEP],? \d{5}\b",
    rf"\b{_WORDS} (?:Street|Avenue|Road|Lane|Boulevard), {_WORDS}(?:,? {_CODE})?",
)
_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 * 2**20  # with less it matches at half the speed
_OPTIONS.log_errors = False
_PATTERNS = tuple(re2.compile(form, _OPTIONS) for form in _FORMS)
_COUNTED = WORDS["counted"]
_NUMBERED = re2.compile(rf"\b{_NUMBER} \p{{Lu}}")
_BEFORE_CODE = re2.compile(
    rf"(?:{_UNIT}, )?(?:(?:[Tt]he |\d{{1,4}} )?{_WORDS}{_STEP}){{1,4}}(?:Co\. )?(?:{_WORDS} )?(?:{_BRITISH}|{_IRISH})",
    _OPTIONS,
)


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
