"""Rows that ask the same, where a field that nothing reads has what they ask about: notes beside `Triage?`."""

from __future__ import annotations

from collections.abc import Collection
from statistics import fmean
from typing import Any

from shared.domain.findings import ROWS_SHOWN
from shared.validation.names import NAMES_MAX

_QUESTIONS_MAX, _DIFFERENT_MAX = 50, 1_000
_ROWS_PER_QUESTION, _ANSWERS_PER_QUESTION, _HALF = 10, 2, 0.5


class SameQuestions:
    """Memory is flat. Where `are_many`, further rows change nothing."""

    def __init__(self) -> None:
        self.count, self.rows = 0, list[int]()
        self._questions, self._answered = set[int](), dict[int, int]()
        self._texts: dict[str, dict[int, int]] = {}  # of each field, with their lengths

    @property
    def are_many(self) -> bool:
        return len(self._questions) > _QUESTIONS_MAX

    def add(self, row: int, unread: dict[str, Any], messages: list[dict[str, Any]], reference: str) -> None:
        """`unread`: fields that may be what rows ask about. `reference`: to a prompt, which has no answer."""
        self.count += 1
        self.rows += [row] if self.count <= ROWS_SHOWN else []
        is_answered = messages[-1]["role"] == "assistant"
        answer = messages[-1]["content"] if is_answered else reference
        question = tuple(message["content"] for message in messages[: len(messages) - is_answered])
        self._questions.add(hash(question))
        _keep(self._answered, (question, answer), answer)
        for name, value in unread.items():
            are_texts = isinstance(value, list) and all(isinstance(part, str) for part in value)
            text = " ".join(value) if are_texts else value
            if isinstance(text, str) and " " in text and (name in self._texts or len(self._texts) < NAMES_MAX):
                _keep(self._texts.setdefault(name, {}), text, text)

    def field(self, but: Collection[str]) -> str:
        """The field of the longest texts, which differ where few questions have several answers; empty for none."""
        questions = len(self._questions)
        if questions * _ROWS_PER_QUESTION > self.count or len(self._answered) < _ANSWERS_PER_QUESTION * questions:
            return ""
        least = _HALF * min(self.count, _DIFFERENT_MAX)
        several = {name: texts for name, texts in self._texts.items() if name not in but and len(texts) >= least}
        lengths = {name: fmean(texts.values()) for name, texts in several.items()}
        longest = max(lengths, key=lambda name: lengths[name], default="")
        return longest if longest and lengths[longest] >= _HALF * fmean(self._answered.values()) else ""


def _keep(lengths: dict[int, int], value: Any, text: str) -> None:
    if len(lengths) < _DIFFERENT_MAX:
        lengths[hash(value)] = len(text)
