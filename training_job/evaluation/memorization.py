"""Answers that repeat training rows: long spans that hardly any row has, and neither the question nor its reference.
How often they do by chance, as texts of one form may, the references show. Free of torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from shared.domain.evaluation import SPAN
from shared.domain.prompts import as_dialogue
from training_job.evaluation.baselines import words_of

RARE = 3  # rows: what more of them have is the form of answers, not one row's content
Span = tuple[str, ...]


def repeats(
    train: Path, prompts: Sequence[str], references: Sequence[str], answers: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[bool]], float]:
    """For each model and answer, whether it has such a span; and the share of references that have one."""
    if not train.exists():
        return {model: [False] * len(texts) for model, texts in answers.items()}, 0.0
    questions, rights = ([set(_spans(text)) for text in texts] for texts in (prompts, references))
    spans = {
        model: [set(_spans(text)) - one - other for text, one, other in zip(texts, questions, rights, strict=True)]
        for model, texts in answers.items()
    }
    spans[""] = [other - one for one, other in zip(questions, rights, strict=True)]
    spans_of_answers = set[Span]().union(*(one for found in spans.values() for one in found))
    rows = Counter[Span]()
    for line in train.read_bytes().splitlines() if spans_of_answers else ():
        rows.update({span for text in _texts(orjson.loads(line)) for span in _spans(text) if span in spans_of_answers})
    rare = {span for span, count in rows.items() if count <= RARE}
    found = {model: [not rare.isdisjoint(one) for one in each] for model, each in spans.items()}
    by_chance = found.pop("")
    return found, sum(by_chance) / max(1, len(by_chance))


def _texts(row: dict[str, object]) -> Iterator[str]:
    messages = [{"content": row["text"]}] if "text" in row else as_dialogue(row)["messages"]
    yield from (content for message in messages if isinstance(content := message.get("content"), str))


def _spans(text: str) -> Iterator[Span]:
    words = words_of(text)
    yield from (tuple(words[start : start + SPAN]) for start in range(len(words) - SPAN + 1))
