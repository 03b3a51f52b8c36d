"""What the rows as a whole would teach: contradictions, look-up facts, lengths; and whether held-out rows are alike."""

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median_low
from typing import Any, NamedTuple

from shared.domain.findings import ROWS_SHOWN
from shared.validation.content.languages import MIXED, UNKNOWN, close
from shared.validation.content.pattern_set import PATTERNS

KNOWN_MAX = 2**18  # prompts that are compared, and answers that are counted
LOOK_UP_SHARE = 0.3
MIN_ROWS = 50
OUTLIER_TIMES = 10
OUTLIER_CHARACTERS = 4_000
_MAX_FACT_CHARACTERS = 80
_MAX_QUESTION_CHARACTERS = 200

_QUESTION, _FACT, _SUM = (re.compile("|".join(PATTERNS["asking"][name])) for name in ("question", "fact", "sum"))
_WORD = re.compile(r"\w+")


class Quality:
    """Memory is bounded. Feed every row of the training part."""

    def __init__(self) -> None:
        self.rows = 0
        self._answers: dict[int, tuple[int, int]] = {}  # prompt -> its first answer and row
        self._look_ups: set[int] = set()  # answers
        self.look_up_rows: list[int] = []
        self._lengths: Counter[int] = Counter()
        self._longest: list[tuple[int, int]] = []  # heap of (characters, row)
        self._shortest: list[tuple[int, int]] = []  # heap of (-characters, row)

    def add(self, number: int, asks_for_fact: bool, prompt_key: int, answer_key: int, characters: int) -> int | None:
        """Take a row; the number of an earlier one that asks the same and answers otherwise, or None. `prompt_key`
        stands for what another answer contradicts; `characters`: of all that is read and the answer."""
        self.rows += 1
        self._lengths[characters] += 1
        _keep_largest(self._longest, characters, number)
        _keep_largest(self._shortest, -characters, number)
        if asks_for_fact and answer_key not in self._look_ups and len(self._look_ups) < KNOWN_MAX:
            self._look_ups.add(answer_key)
            if len(self.look_up_rows) < ROWS_SHOWN:
                self.look_up_rows.append(number)
        if prompt_key not in self._answers:
            if len(self._answers) < KNOWN_MAX:
                self._answers[prompt_key] = answer_key, number
            return None
        earlier, row = self._answers[prompt_key]
        return row if earlier != answer_key else None

    @property
    def look_up_share(self) -> float:
        """Share of rows that ask for a fact and get a short one that no other row gave."""
        return len(self._look_ups) / self.rows if self.rows else 0.0

    @property
    def median_characters(self) -> int:
        seen = 0
        for characters in sorted(self._lengths):
            seen += self._lengths[characters]
            if seen * 2 >= self.rows:
                return characters
        return 0

    def outliers(self) -> tuple[int, tuple[int, ...]]:
        """How many rows are far longer than the median one, and the longest of them."""
        limit = max(OUTLIER_TIMES * self.median_characters, OUTLIER_CHARACTERS)
        return self._beyond((size for size in self._lengths if size > limit), self._longest)

    def short_outliers(self) -> tuple[int, tuple[int, ...]]:
        """How many rows are far shorter than the median one, and the shortest of them."""
        limit = self.median_characters // OUTLIER_TIMES
        return self._beyond((size for size in self._lengths if size < limit), self._shortest)

    def _beyond(self, sizes: Iterable[int], extreme: list[tuple[int, int]]) -> tuple[int, tuple[int, ...]]:
        if self.rows < MIN_ROWS:
            return 0, ()
        count = sum(self._lengths[size] for size in sizes)
        return count, tuple(-row for _, row in sorted(extreme, reverse=True)[:count])


def asks_for_fact(prompt: str, answer: str, context: str = "") -> bool:
    """Whether the last line of the prompt asks for a fact and the answer is a short one, neither read nor computed."""
    if len(answer) > _MAX_FACT_CHARACTERS or len(prompt) > _MAX_QUESTION_CHARACTERS:
        return False
    question = prompt.rsplit("\n", 1)[-1].lstrip()
    if _QUESTION.match(question) is None or _FACT.search(answer) is None or _SUM.search(question):
        return False
    read = set(_WORD.findall(f"{context} {prompt}".lower()))
    return any(word.lower() not in read for word in _WORD.findall(answer) if not word.islower())


def _keep_largest(heap: list[tuple[int, int]], size: int, number: int) -> None:
    heapq.heappush(heap, (size, -number))
    if len(heap) > ROWS_SHOWN:
        heapq.heappop(heap)


MIN_ROWS_OF_KINDS = 10  # of each part
MIN_DIFFERENCE = 0.5  # of the two shares
MIN_TIMES, MIN_CHARACTERS = 4, 40  # of the two median lengths, and of the longer one
_FORMS = ("a system message", "tools", "earlier turns", "an answer in JSON")


class RowKind(NamedTuple):
    """`forms`: bits, as `_FORMS` has them. `size`: characters of the answer, rounded down by an eighth at most."""

    language: str
    forms: int
    size: int


def kind_of(language: str, messages: Sequence[dict[str, Any]], tools: Any) -> RowKind:
    system, is_answer = messages[0]["role"] == "system", messages[-1]["role"] == "assistant"
    answer = messages[-1]["content"] if is_answer else ""
    turns = len(messages) - system - is_answer > 1 and not tools
    forms = system | bool(tools) << 1 | turns << 2 | answer.startswith(("{", "[", "```json")) << 3
    bits = max(0, len(answer).bit_length() - 4)
    return RowKind(language, forms, len(answer) >> bits << bits)


def differences(train: Counter[RowKind], held_out: Counter[RowKind]) -> Iterator[str]:
    """In words, with both figures."""
    parts = (train, held_out)
    if min(map(Counter.total, parts)) < MIN_ROWS_OF_KINDS:
        return
    for bit, words in enumerate(_FORMS):
        shares = [sum(n for kind, n in part.items() if kind.forms >> bit & 1) / part.total() for part in parts]
        if abs(shares[0] - shares[1]) >= MIN_DIFFERENCE:
            yield f"{words} in {shares[0]:.0%} of the training rows and {shares[1]:.0%} of the held-out rows"
    mains = [_main_language(part) for part in parts]
    if all(mains) and not close(*mains):
        yield f"most training rows in {mains[0]} and most held-out rows in {mains[1]}"
    sizes = [median_low([kind.size for kind in part.elements() if kind.size] or [0]) for part in parts]
    if all(sizes) and max(sizes) >= max(MIN_CHARACTERS, MIN_TIMES * min(sizes)):
        yield f"a median answer of {sizes[0]} characters in training and of {sizes[1]} held out"


def _main_language(part: Counter[RowKind]) -> str:
    """That of most rows whose language is known; empty if there is none, or too few are known."""
    known = Counter(kind.language for kind in part.elements() if kind.language not in (MIXED, UNKNOWN))
    language, count = next(iter(known.most_common(1)), ("", 0))
    return language if count >= MIN_ROWS_OF_KINDS and count > known.total() / 2 else ""
