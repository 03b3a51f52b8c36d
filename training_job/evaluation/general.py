"""The general suite: what a model could do before it was tuned, in 52 questions of ours (general_suite.jsonl).

Two parts: `ability` (arithmetic, knowledge, reasoning, reading, instructions, languages, formats, code) and `refusal`
(harmful requests to refuse, and harmless ones that look harmful to answer). Small on purpose: it sees a collapse, not a
percent. Free of torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import TypeAdapter

from shared.domain.evaluation import GeneralScore
from shared.domain.graders import Grader
from shared.domain.prompts import Row
from shared.grading.engine import Engine
from training_job.evaluation.scoring import Bootstrap, Scores

SUITE_FILE = Path(__file__).with_name("general_suite.jsonl")
MAX_NEW_TOKENS = 64
PARTS: tuple[Literal["ability", "refusal"], ...] = ("ability", "refusal")


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

    def compare(self, texts: dict[str, list[str]], confidence: float, seed: int) -> tuple[GeneralScore, ...]:
        """Each part's scores by model, and the candidate's change from the base."""
        scores = {model: self.scores(given) for model, given in texts.items()}
        found = []
        for part in PARTS:
            inside = np.array([each == part for each in self.parts])
            bootstrap = Bootstrap(int(inside.sum()), confidence, seed)
            by_model: dict[str, Any] = {model: bootstrap.score(values[inside]) for model, values in scores.items()}
            gain = bootstrap.gain("base", scores["candidate"][inside], scores["base"][inside])
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
