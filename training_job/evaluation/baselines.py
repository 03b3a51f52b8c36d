"""Answers to the held-out rows without a model, out of the training rows: what a candidate has to be better than."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.domain.evaluation import BaselineName
from shared.domain.graders import Grader, judges_named
from shared.domain.prompts import as_dialogue, prompt_before, reference_index
from shared.grading.ready import UNSPACED

MAX_ROWS = 5000  # of the training rows, by hash
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BaselineAnswers:
    """By baseline, the answers in the order of the prompts; or why there are none."""

    texts: dict[BaselineName, list[str]] = field(default_factory=dict)
    reason: str | None = None


def baseline_answers(train: Path, prompts: Sequence[str], graders: Sequence[Grader]) -> BaselineAnswers:
    """Of the answers in `train` the most frequent one, that of the nearest prompt, and what a lookup makes of them."""
    if judges_named(graders):
        return BaselineAnswers(reason="a judge is asked about models only")
    pairs = _pairs(train)
    if not pairs:
        return BaselineAnswers(reason="the training rows have no answers")
    return BaselineAnswers(
        {
            "majority": [_majority(pairs)] * len(prompts),
            "nearest_neighbor": list(map(_nearest(pairs), prompts)),
            "lookup": list(map(Lookup(pairs).answer, prompts)),
        }
    )


def _pairs(train: Path) -> Pairs:
    """Prompt and learned answer of each row that has both as text, sorted; of many rows the same in whatever order."""
    pairs = set()
    for line in train.read_bytes().splitlines() if train.exists() else ():
        row = orjson.loads(line)
        dialogue = None if "text" in row else as_dialogue(row)
        if dialogue is not None and (index := reference_index(dialogue)) is not None:
            answer = dialogue["messages"][index].get("content")
            if isinstance(answer, str) and answer.strip():
                pairs.add((prompt_before(dialogue, index).conversation(), answer.strip()))
    chosen = sorted(pairs, key=lambda pair: hashlib.sha256("\0".join(pair).encode()).digest())[:MAX_ROWS]
    return sorted(chosen)


def _majority(pairs: Pairs) -> str:
    counts = Counter(answer for _, answer in pairs)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def _nearest(pairs: Pairs) -> Callable[[str], str]:
    """BM25 over the words of the prompts (Robertson and Zaragoza 2009), as Lucene computes it; the first of equals."""
    import bm25s

    index = bm25s.BM25()
    index.index([words_of(prompt) or [""] for prompt, _ in pairs], show_progress=False)

    def answer(prompt: str) -> str:
        known = index.get_tokens_ids(words_of(prompt))
        return pairs[int(index.get_scores_from_ids(known).argmax()) if known else 0][1]

    return answer


CONTEXTS = (1, 2, 4, 8)  # last tokens of the answer so far that a rule may depend on
SURE = 0.9  # a rule as sure as this ends the search
PLACES, TOKENS = 2000, 100  # at most so many places and next tokens are tried
PAIRED = 24  # features, and next tokens, that are tried two by two
OCCURRENCES = 20_000  # of a token, at most so many are looked at
FEATURES = 200  # of a prompt, those that most training rows have: a long prompt has a thousand
_TOKEN = re.compile(rf"\s*(?:[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W\d_])+|\d+|[^\w\s]|_)")
Ids = NDArray[np.int64]


class Lookup:
    """Writes an answer token by token: what training rows show after the same last tokens where the prompt holds the
    same one or two words, by the rule that is right most surely (Wilson's lower bound). The order of `rows` does not
    matter."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        rows = sorted(rows)
        answers = [_TOKEN.findall(answer) for _, answer in rows]
        self._words: list[str] = list(dict.fromkeys(["", *(token for answer in answers for token in answer)]))
        ids = {word: number for number, word in enumerate(self._words)}
        texts = [[0] * CONTEXTS[-1] + [ids[token] for token in answer] + [0] for answer in answers]
        self._tokens: Ids = np.array([token for text in texts for token in text], dtype=np.int64)
        self._rows: Ids = np.repeat(np.arange(len(rows)), [len(text) for text in texts])
        self._item: Ids = np.array([item for text in texts for item in self._items(text)], dtype=np.int64)
        order = np.argsort(self._tokens, kind="stable")
        bounds = np.searchsorted(self._tokens[order], np.arange(len(self._words) + 1))
        self._places = [order[start:end] for start, end in pairwise(bounds)]
        # The end of a text is followed by none, and of what stands before its first token only the last counts.
        first = np.cumsum([0, *(len(text) for text in texts)])
        self._places[0] = first[:-1] + CONTEXTS[-1] - 1
        self._holding: dict[str, list[int]] = defaultdict(list)
        for number, (prompt, _) in enumerate(rows):
            for feature in _features(prompt):
                self._holding[feature].append(number)
        self._count, self._longest = len(rows), max(map(len, texts), default=0)

    def _items(self, text: list[int]) -> list[int]:
        """For each token of an answer the last number of a list before it, as in "2. "; 0 before the first."""
        items, last = [], 0
        for token, after in pairwise([*text, 0]):
            items.append(last)
            word = self._words[token]
            if word != word.lstrip() and word.strip().isdigit() and self._words[after] in (".", ")"):
                last = token
        return items

    def answer(self, prompt: str) -> str:
        known = [rows for feature in _features(prompt) if 1 < len(rows := self._holding.get(feature, [])) < self._count]
        if len(known) > FEATURES:
            known = sorted(known, key=len, reverse=True)[:FEATURES]
        holds = np.zeros((self._count, len(known) + 1), dtype=np.float32)
        holds[:, 0] = 1  # no word at all
        for column, rows in enumerate(known, start=1):
            holds[rows, column] = 1
        written, item, seen = [0] * CONTEXTS[-1], 0, set()
        while len(written) < self._longest and (token := self._next(written, item, holds)):
            written.append(token)
            item = self._items(written)[-1]
            state = (*written[-CONTEXTS[-1] :], item)
            if state in seen:  # it would go round and round
                break
            seen.add(state)
        return "".join(self._words[token] for token in written[CONTEXTS[-1] :])

    def _next(self, written: list[int], item: int, holds: NDArray[np.float32]) -> int:
        found = []
        places = self._places[written[-1]]
        places = places[:: 1 + len(places) // OCCURRENCES]
        for shorter, length in pairwise((1, *CONTEXTS)):
            for back in range(shorter, length):
                places = places[self._tokens[places - back] == written[-1 - back]]
            found.append(places[:: 1 + len(places) // PLACES])
        best = (-1.0, 0)
        for places in reversed(found):
            if len(places) and best[0] < SURE:
                best = max(best, self._rule(places, item, holds))
        return best[1]

    def _rule(self, places: Ids, item: int, holds: NDArray[np.float32]) -> tuple[float, int]:
        """How sure the surest rule is, and the token it gives. `holds` [rows, features]."""
        after = self._tokens[places + 1]
        tokens, which, count = np.unique(after, return_inverse=True, return_counts=True)
        if len(tokens) == 1:
            return len(after) / (len(after) + 1), int(tokens[0])
        kept = np.argsort(-count, kind="stable")[:TOKENS]
        shown, part = (which[:, None] == kept).astype(np.float32), holds[self._rows[places]]
        part = np.column_stack([part, self._item[places] == item]).astype(np.float32)
        single = _sure(shown.T @ part, part.sum(axis=0))
        at = np.unravel_index(int(single.argmax()), single.shape)
        best = float(single[at]), int(tokens[kept[at[0]]])
        if best[0] >= SURE:
            return best
        part = part[:, np.argsort(-single.max(axis=0), kind="stable")[:PAIRED]]
        for token, one in zip(tokens[kept][:PAIRED], shown.T, strict=False):
            best = max(best, (float(_sure(part[one > 0].T @ part[one > 0], part.T @ part).max()), int(token)))
        return best


def words_of(prompt: str) -> list[str]:
    """Its words, numbers and signs in lower case; each letter is a word where words have no blanks between them."""
    return [token.strip().casefold() for token in _TOKEN.findall(prompt)]


def _features(prompt: str) -> list[str]:
    """The words of a prompt, and each two that follow one another."""
    words = words_of(prompt)
    return list(dict.fromkeys([*words, *(f"{one} {two}" for one, two in pairwise(words))]))


def _sure(hits: NDArray[np.float32], total: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower bound of the share of hits among the places that a rule covers (Wilson's, one standard error)."""
    total = np.maximum(total, 1e-9)
    share = hits / total
    bound = share + 0.5 / total - np.sqrt(share * (1 - share) / total + 0.25 / total**2)
    return (bound / (1 + 1 / total)).astype(np.float32)
