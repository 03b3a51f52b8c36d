"""Rows that ask the same, where a field that nothing reads has what they ask about: notes beside `Triage?`."""

from collections import defaultdict
from collections.abc import Collection
from statistics import fmean
from typing import Any

_ROWS_MAX, _QUESTIONS_MAX = 1_000, 50  # so many are looked at
_ROWS_PER_QUESTION, _ANSWERS_PER_QUESTION, _HALF = 10, 2, 0.5


class SameQuestions:
    """Memory is flat. `is_settled`: further rows change nothing."""

    def __init__(self) -> None:
        self._rows, self._questions, self._answered = 0, set[int](), dict[int, int]()
        self._texts: defaultdict[str, dict[int, int]] = defaultdict(dict)  # of each field, with their lengths

    @property
    def is_settled(self) -> bool:
        return self._rows == _ROWS_MAX or len(self._questions) > _QUESTIONS_MAX

    def add(self, unread: dict[str, Any], messages: list[dict[str, Any]], reference: str) -> None:
        """`unread`: fields that may be what rows ask about. `reference`: to a prompt, which has no answer."""
        self._rows += 1
        is_answered = messages[-1]["role"] == "assistant"
        answer = messages[-1]["content"] if is_answered else reference
        question = tuple(message["content"] for message in messages[: len(messages) - is_answered])
        self._questions.add(hash(question))
        self._answered[hash((question, answer))] = len(answer)
        for name, value in unread.items():
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            if isinstance(text, str) and " " in text:
                self._texts[name][hash(text)] = len(text)

    def field(self, but: Collection[str]) -> str:
        """The field of the longest texts, which differ where few questions have several answers; empty for none."""
        questions, least = len(self._questions), _HALF * self._rows
        if questions * _ROWS_PER_QUESTION > self._rows or len(self._answered) < _ANSWERS_PER_QUESTION * questions:
            return ""
        several = {name: fmean(texts.values()) for name, texts in self._texts.items() if len(texts) >= least}
        lengths = {name: length for name, length in several.items() if name not in but}
        longest = max(lengths, key=lambda name: lengths[name], default="")
        return longest if longest and lengths[longest] >= _HALF * fmean(self._answered.values()) else ""
