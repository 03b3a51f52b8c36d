"""What the rows as a whole would teach: contradictions, look-up facts, lengths."""

import heapq
import re
from collections import Counter
from collections.abc import Callable

from shared.domain.findings import ROWS_SHOWN
from shared.validation.content.pattern_set import PATTERNS
from shared.validation.content.slots import Slots

KNOWN_PROMPTS_BITS = 18  # the latest 262,144 prompts, 4 MB
LOOK_UP_SHARE = 0.3
MIN_ROWS = 50
OUTLIER_TIMES = 10
OUTLIER_CHARACTERS = 4_000
_MAX_FACT_CHARACTERS = 80
_MAX_QUESTION_CHARACTERS = 200

_QUESTION, _FACT, _SUM = (re.compile("|".join(PATTERNS["asking"][name])) for name in ("question", "fact", "sum"))
_WORD = re.compile(r"\w+")


class Quality:
    """Memory is fixed. Feed every row of the training part."""

    def __init__(self) -> None:
        self.rows = 0
        self._answers = Slots(KNOWN_PROMPTS_BITS)
        self._look_ups: int = 0
        self._look_up_answers = Slots(16)
        self.look_up_rows: list[int] = []
        self._lengths: Counter[int] = Counter()
        self._longest: list[tuple[int, int]] = []  # heap of (characters, row)
        self._shortest: list[tuple[int, int]] = []  # heap of (-characters, row)

    def add(self, number: int, asks_for_fact: bool, prompt_key: int, answer_key: int, characters: int) -> int | None:
        """Take a row. `prompt_key` stands for what rows with another answer contradict; `characters`: of all that is
        read before the answer and the answer.

        Returns the number of an earlier row that asks the same and answers otherwise, or None.
        """
        self.rows += 1
        self._measure(number, characters)
        if asks_for_fact:
            self._look_up(number, answer_key)
        earlier = self._answers.get(prompt_key)
        short_key = answer_key & 0xFFFF_FFFF
        if earlier is None:
            self._answers.put(prompt_key, short_key << 32 | number & 0xFFFF_FFFF)
            return None
        return earlier & 0xFFFF_FFFF if earlier >> 32 != short_key else None

    def _measure(self, number: int, characters: int) -> None:
        self._lengths[_bucket(characters)] += 1
        _keep_largest(self._longest, characters, number)
        _keep_largest(self._shortest, -characters, number)

    def _look_up(self, number: int, answer_key: int) -> None:
        if self._look_up_answers.get(answer_key) is None:
            self._look_up_answers.put(answer_key, 1)
            self._look_ups += 1
            if len(self.look_up_rows) < ROWS_SHOWN:
                self.look_up_rows.append(number)

    @property
    def look_up_share(self) -> float:
        """Share of rows that ask for a fact and get a short one that no other row gave."""
        return self._look_ups / self.rows if self.rows else 0.0

    @property
    def median_characters(self) -> int:
        """To within 5 %."""
        seen = 0
        for bucket in sorted(self._lengths):
            seen += self._lengths[bucket]
            if seen * 2 >= self.rows:
                return _middle(bucket)
        return 0

    def outliers(self) -> tuple[int, tuple[int, ...]]:
        """How many rows are far longer than the median one, and the longest of them."""
        limit = max(OUTLIER_TIMES * self.median_characters, OUTLIER_CHARACTERS)
        return self._beyond(lambda bucket: bucket > _bucket(limit), self._longest)

    def short_outliers(self) -> tuple[int, tuple[int, ...]]:
        """How many rows are far shorter than the median one, and the shortest of them."""
        limit = self.median_characters // OUTLIER_TIMES
        return self._beyond(lambda bucket: bucket < _bucket(limit), self._shortest)

    def _beyond(self, is_beyond: Callable[[int], bool], extreme: list[tuple[int, int]]) -> tuple[int, tuple[int, ...]]:
        if self.rows < MIN_ROWS:
            return 0, ()
        count = sum(number for bucket, number in self._lengths.items() if is_beyond(bucket))
        rows = [-row for _, row in sorted(extreme, reverse=True)][:count]
        return count, tuple(rows)


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
    if len(heap) < ROWS_SHOWN:
        heapq.heappush(heap, (size, -number))
    elif size > heap[0][0]:
        heapq.heapreplace(heap, (size, -number))


def _bucket(characters: int) -> int:
    """Sixteenths of a power of two."""
    if characters < 16:
        return characters
    shift = characters.bit_length() - 5
    return (shift << 4) + (characters >> shift)


def _middle(bucket: int) -> int:
    if bucket < 16:
        return bucket
    shift = (bucket >> 4) - 1
    return (((bucket & 15) + 16 << shift) + ((bucket & 15) + 17 << shift)) // 2
