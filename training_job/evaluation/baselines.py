"""Answers to the held-out rows without a model, out of the training rows: what a candidate has to be better than."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from shared.domain.evaluation import BaselineName
from shared.domain.graders import Grader, judges_named
from shared.domain.prompts import as_dialogue, prompt_before, reference_index
from training_job.evaluation.lookup import Lookup, words_of

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
