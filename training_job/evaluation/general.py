"""The general suite: what a model could do before it was tuned (docs/explanation/evaluation.md). Free of torch."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
from pydantic import TypeAdapter

from shared.domain.evaluation import GENERAL_MIN_BASE, GeneralPart, GeneralScore
from shared.domain.graders import Grader
from shared.domain.prompts import Row
from shared.grading.engine import Engine
from training_job.evaluation.scoring import Rows, Scores

SUITE_FILE = Path(__file__).with_name("general_suite.jsonl")
MAX_NEW_TOKENS = 64
PARTS: tuple[GeneralPart, ...] = get_args(GeneralPart)


@dataclass(frozen=True)
class Suite:
    """Questions as chat rows, and beside each its part and the grader of its answer."""

    rows: list[Row]
    parts: list[str]
    graders: list[Grader]

    def scores(self, texts: list[str]) -> Scores:
        """Score of each answer, `[rows]`."""
        found = []
        for text, grader in zip(texts, self.graders, strict=True):
            with Engine([grader]) as engine:
                [grade] = engine.grade([text], [{}])
            assert grade.score is not None  # the suite's own graders read nothing of a row
            found.append(grade.score)
        return np.array(found, dtype=np.float64)

    def lacking(self, texts: list[str]) -> dict[GeneralPart, float]:
        """A base's mean of each part that it cannot do: the others are not asked that."""
        scores, parts = self.scores(texts), np.array(self.parts)
        means = {part: float(scores[parts == part].mean()) for part in PARTS}
        return {part: mean for part, mean in means.items() if mean < GENERAL_MIN_BASE}

    def without(self, parts: Collection[str]) -> "Suite":
        rows = self.outside(parts)
        return Suite([self.rows[i] for i in rows], [self.parts[i] for i in rows], [self.graders[i] for i in rows])

    def outside(self, parts: Collection[str]) -> list[int]:
        """Indices of the questions that are of no such part."""
        return [i for i, part in enumerate(self.parts) if part not in parts]

    def compare(self, texts: dict[str, list[str]], confidence: float) -> tuple[GeneralScore, ...]:
        """Each part's scores by model, and the candidate's change from the base."""
        scores = {model: self.scores(given) for model, given in texts.items()}
        found = []
        for part in dict.fromkeys(self.parts):
            inside = np.array([each == part for each in self.parts])
            rows = Rows([{}] * int(inside.sum()))
            by_model: dict[str, Any] = {
                model: rows.score(values[inside], confidence) for model, values in scores.items()
            }
            gain = rows.gain("base", scores["candidate"][inside], scores["base"][inside], confidence)
            found.append(GeneralScore(part=part, gain=gain, **by_model))
        return tuple(found)


def load_suite() -> Suite:
    lines = [orjson.loads(line) for line in SUITE_FILE.read_bytes().splitlines()]
    read = TypeAdapter(Grader).validate_python
    return Suite(
        rows=[{"messages": [{"role": "user", "content": line["ask"]}]} for line in lines],
        parts=[line["part"] for line in lines],
        graders=[read({"name": "general", **line["grader"]}) for line in lines],
    )
