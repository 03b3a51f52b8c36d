"""Facts: what a JSON answer states, slot by slot, against what the row holds. Swapped slots do not match."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from shared.grading.errors import AnswerUnreadable, GradingErrorCode, GradingFailed
from shared.grading.ready import canonical

UNSTATED = frozenset(
    ("", "unknown", "not known", "not stated", "not given", "not recorded", "not mentioned", "n/a", "na")
)
CHOICE = "one_of"


def facts_score(
    answer: Any, reference: Any, slots: Sequence[str], measure: Literal["precision", "recall", "f1", "no_hallucination"]
) -> float:
    """`reference`: slot -> text, number, list, `{"one_of": [...]}` or null for what is not known; objects nest.

    `slots`: the only ones that count, with what is below them; none means all. 1 if nothing is to be stated and nothing
    is; 0 if one side only is empty, but silence invents nothing. Raises AnswerUnreadable if the answer is no object.
    """
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
