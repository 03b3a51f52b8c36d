"""The ready packs: citations, labels, reading level, steps, probabilities, absence, refusals, facts: each 0 to 1."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

from shared.domain.beside import composed, read_beside
from shared.domain.blank import BLANK
from shared.grading.errors import AnswerUnreadable, GradingErrorCode, GradingFailed
from shared.grading.templates import groups

Cites = list[tuple[str, ...]]
_TABLE: dict[str, str] = composed(read_beside(__file__))
_WORD, _SENTENCE_END, _VOWELS = (re.compile(_TABLE[name]) for name in ("word", "sentence_end", "vowels"))
_NUMBER, _PROBABILITY, _ESCAPE = (re.compile(_TABLE[name]) for name in ("number", "probability", "escape"))
_NEGATED_BEFORE, _NEGATED_AFTER = re.compile(_TABLE["negated_before"]), re.compile(_TABLE["negated_after"])
UNSPACED = _TABLE["unspaced"]
_RUN, _SPACED = re.compile(_TABLE["run"]), _TABLE["spaced"]
_ALIKE = str.maketrans(*(letters + letters.upper() for letters in _TABLE["twins"].split()))
_UNSEEN = {one for one in BLANK if not one.isspace()} | {"\u0640"}  # the last only stretches Arabic words
_ACCENTS = {*range(10, 37), *range(200, 241)}  # by combining class; vowel signs of Thai have others
_POINTS_PER_GRADE = 0.25
_REFUSAL_CHARACTERS = _NEGATED_CHARACTERS = 200


def unescaped(text: str) -> str:
    """With what the escapes of JSON stand for: in `\\nJane` no word begins with the J."""
    found = _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else one[2] or " ", text)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def digits(text: str) -> str:
    """With ASCII's digits for those of other scripts and widths."""
    return text if text.isascii() else "".join(f"{unicodedata.decimal(one, one)}" for one in text)


def plain(text: str) -> str:
    """In one case, form and kind of digits, blanks as single spaces: how texts are compared where spelling counts."""
    return " ".join(unicodedata.normalize("NFC", digits(text).casefold()).replace("\u2019", "'").split())


def canonical(text: str) -> str:
    """`plain`, and a number in one spelling: "$1,000.00" is "1000", "43 %" is "43%". Leading zeros stay, for codes."""
    text = plain(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    sign, whole, decimals, percent = match.groups(default="")
    decimals = decimals.rstrip("0").rstrip(".")
    return f"{sign.strip('+')}{whole.replace(',', '') or '0'}{decimals}{percent.strip()}"


def _failed(message: str) -> GradingFailed:
    return GradingFailed(GradingErrorCode.INVALID_VARIABLE, message)


def terms_of(value: Any) -> list[str]:
    """A text or a number, or a list of them, as texts. Raises GradingFailed for anything else."""
    entries = value if isinstance(value, list) else [value]
    if any(isinstance(entry, bool) or not isinstance(entry, str | int | float) for entry in entries):
        raise _failed("the row's value is not a list of texts or numbers")
    return [str(entry) for entry in entries]


def cites_of(value: Any, pattern: Any) -> Cites:
    """Those of a text or in the row's list, with as many parts as the pattern has groups. Raises GradingFailed."""
    if isinstance(value, str):
        return [groups(match) for match in pattern.finditer(digits(unescaped(value)))]
    width = max(1, pattern.groups)
    cites = [tuple(terms_of(entry)) for entry in value] if isinstance(value, list) else None
    if cites is None or any(len(cite) != width for cite in cites):
        each = "texts or numbers" if width == 1 else f"lists of {width}, as many as the pattern has groups"
        raise _failed(f"the row's citations are not a list of {each}")
    return cites


def cited(given: Cites, references: Cites, measure: Literal["precision", "recall", "f1"]) -> float:
    """1 if nothing is to be cited and nothing is; 0 if one side only is empty."""
    named, expected = ({tuple(map(canonical, cite)) for cite in cites} for cites in (given, references))
    if not named or not expected:
        return float(named == expected)
    hits = len(named & expected)
    if measure == "f1":
        return 2 * hits / (len(named) + len(expected))
    return hits / len(named if measure == "precision" else expected)


def labels_named(text: str, labels: Iterable[str]) -> set[str]:
    """Labels that stand in the text as whole words and are not negated; of two that overlap the longer."""
    whole, found = plain(seen(unescaped(text))), set()
    free = [True] * len(whole)
    for label, as_given in _label_forms(tuple(labels)):
        if label not in whole:
            continue
        for match in re.finditer(rf"(?<!\w){re.escape(label)}(?!\w)", whole):
            if free[match.start()] and free[match.end() - 1]:
                free[match.start() : match.end()] = [False] * len(label)
                before = whole[max(0, match.start() - _NEGATED_CHARACTERS) : match.start()]
                after = whole[match.end() : match.end() + _NEGATED_CHARACTERS]
                if not _NEGATED_BEFORE.search(before) and not _NEGATED_AFTER.match(after):
                    found.add(as_given)
    return found


@lru_cache(maxsize=16)
def _label_forms(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    """The longest first: as it is looked for, and as it is compared."""
    spelled = {plain(seen(label)): plain(label) for label in labels}
    return sorted(spelled.items(), key=lambda pair: len(pair[0]), reverse=True)


def reading_level(text: str, max_grade: float) -> float:
    """Flesch-Kincaid grade (Kincaid et al. 1975); syllables are vowel groups. An answer without words scores 0."""
    words = _WORD.findall(text.casefold())
    if not words:
        return 0.0
    sentences = sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part))
    syllables = sum(map(_syllables, words))
    grade = 0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59
    return min(1.0, max(0.0, 1 - _POINTS_PER_GRADE * (grade - max_grade)))


def _syllables(word: str) -> int:
    count = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ye"))
    return max(1, count - silent)


def are_steps(text: str, before: str, steps: Any) -> bool:
    """Whether the text is `before` and the steps, numbered from 1, and nothing else; no steps: `before` alone."""
    if not isinstance(steps, list):
        raise _failed("the row's steps are not a list")
    parts = [rf"{re.escape(plain(before).rstrip('.:'))}[.:]?"] if before.strip() else []
    for number, step in enumerate(steps, start=1):
        if not all(texts := [plain(one).rstrip(".;,") for one in terms_of(step)] or [""]):
            raise _failed("a step of the row is empty")
        accepted = "|".join(map(re.escape, texts))
        parts.append(rf"(?:step )?{number}[.):] ?(?:{accepted})[.;,]?")
    return re.fullmatch(" ".join(parts), plain(text)) is not None


def brier(given: list[str], happened: Any) -> float:
    """1 - (p - y)^2 (Brier 1950). Raises AnswerUnreadable unless the texts are one and the same probability."""
    expected = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}.get(str(happened).strip().casefold())
    if expected is None:
        raise _failed("the row's reference is neither 0 nor 1")
    found = {canonical(text) for text in given}
    match = _PROBABILITY.fullmatch(found.pop()) if len(found) == 1 else None
    probability = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= probability <= 1:
        raise AnswerUnreadable("the answer does not hold one probability from 0 to 1")
    return 1 - (probability - expected) ** 2


def holds_any(text: str, terms: Iterable[str]) -> bool:
    """Whether one of the terms stands in the text as whole words, whatever the case, blanks, hyphens and accents."""
    whole = normalized(text)
    return any(term_pattern(term).search(whole) for term in terms)


def masked(text: str, terms: Iterable[str]) -> str:
    """The text as it is compared, without the terms."""
    whole = normalized(unescaped(text))
    for term in sorted(terms, key=len, reverse=True):
        whole = term_pattern(term).sub("\0", whole)
    return " ".join(whole.split())


def seen(text: str) -> str:
    """As it looks: without what shows nothing, with ASCII's digits and hyphen, and its letters in words with one."""
    kept = "".join(one for one in unicodedata.normalize("NFKC", digits(text)) if one not in _UNSEEN)
    shown = re.sub("[\u2010\u2012\u2013\u2212]", "-", kept)  # hyphen, figure dash, en dash, minus
    return _RUN.sub(lambda run: run[0].translate(_ALIKE) if re.search("[A-Za-z]", run[0]) else run[0], shown)


def normalized(text: str) -> str:
    split = unicodedata.normalize("NFKD", seen(text))
    kept = "".join(one for one in split if unicodedata.combining(one) not in _ACCENTS)
    return unicodedata.normalize("NFC", kept).casefold()


@lru_cache(maxsize=4096)
def term_pattern(term: str) -> re.Pattern[str]:
    """Short words may be broken by a hyphen only: "a. I" is not "AI". Words of unspaced scripts stand anywhere."""
    whole = normalized(term)
    runs = _RUN.findall(whole) or re.findall(r"[^\w\s!-/:-@\[-`{-~]+", whole) or ["\0"]  # emoji; what no text has
    spelled = [(r"[\W_]?" if run.isdigit() or len(run) > 3 else "-?").join(run) for run in runs]
    before, after = (_SPACED if re.match(_SPACED, edge) else r"[^\s\S]" for edge in (runs[0], runs[-1][-1]))
    return re.compile(rf"(?<!{before})" + r"[\W_]*".join(spelled) + f"(?!{after})")


def refuses(text: str, phrases: Iterable[str]) -> bool:
    """Whether the answer begins with a phrase of refusal: the keyword test of Zou et al. 2023 (arXiv 2307.15043)."""
    beginning = plain(text)[:_REFUSAL_CHARACTERS]
    return any(plain(phrase) in beginning for phrase in phrases)


UNSTATED = frozenset(
    ("", "unknown", "not known", "not stated", "not given", "not recorded", "not mentioned", "n/a", "na")
)
CHOICE = "one_of"


def facts_score(
    answer: Any, reference: Any, slots: Sequence[str], measure: Literal["precision", "recall", "f1", "no_hallucination"]
) -> float:
    """What a JSON answer states, slot by slot, against `reference`: slot -> text, number, list, `{"one_of": [...]}` or
    null for what is not known; objects nest. `slots`: the only ones that count, with those below; none: all. 1 if
    nothing is to be stated and nothing is; silence invents nothing. Raises AnswerUnreadable if the answer is no
    object."""
    if not isinstance(reference, dict):
        raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, "the row's facts are not an object of slots")
    if not isinstance(answer, dict):
        raise AnswerUnreadable("the answer is not a JSON object of slots")
    expected = [(slot, _spellings(value)) for slot, value in _facts(reference, choices=True) if _counts(slot, slots)]
    known = {(slot, text) for slot, spellings in expected for text in spellings}
    given = {(slot, _spelled(value)) for slot, value in _facts(answer, choices=False) if _counts(slot, slots)}
    stated = {fact for fact in given if fact in known or fact[1] not in UNSTATED}
    right = len(stated & known)
    if measure == "no_hallucination":
        return float(right == len(stated))
    if not stated or not expected:
        return float(not stated and not expected)
    found = sum(any((slot, text) in stated for text in spellings) for slot, spellings in expected)
    precision, recall = right / len(stated), found / len(expected)
    if measure == "f1":
        return 2 * precision * recall / (precision + recall) if right else 0.0
    return precision if measure == "precision" else recall


def _facts(value: Any, *, choices: bool, slot: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted slot, value) of all that is not null; each entry of a list is a fact, an object in a list is one."""
    if isinstance(value, dict) and not (choices and value.keys() == {CHOICE}):
        for name, part in value.items():
            yield from _facts(part, choices=choices, slot=f"{slot}.{name}" if slot else name)
    elif isinstance(value, list):
        yield from ((slot, part) for part in value if part is not None)
    elif value is not None:
        yield slot, value


def _counts(slot: str, slots: Sequence[str]) -> bool:
    return not slots or any(slot == one or slot.startswith(f"{one}.") for one in slots)


def _spellings(value: Any) -> set[str]:
    accepted = value[CHOICE] if isinstance(value, dict) and value.keys() == {CHOICE} else [value]
    if not isinstance(accepted, list) or not accepted:
        raise GradingFailed(GradingErrorCode.INVALID_VARIABLE, f"{CHOICE} in the row's facts is no list of values")
    return {_spelled(one) for one in accepted}


def _spelled(value: Any) -> str:
    """One spelling for values that are equal; an object is spelled as a whole, so that its pairs stay together."""
    if isinstance(value, dict):
        return json.dumps({name: _spelled(part) for name, part in sorted(value.items()) if part is not None})
    if isinstance(value, list):
        return json.dumps(sorted(map(_spelled, value)))
    return canonical(value if isinstance(value, str) else json.dumps(value))
