"""Rewards of a reinforcement run: the recipe's graders, as trl asks for them. Free of torch."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.graders import Grader
from shared.grading.engine import Engine
from shared.grading.errors import GradingErrorCode
from shared.grading.llm_judge import Ask, no_judge

ERROR_SHARE_MAX = 0.1
MIN_GRADED = 50  # answers, before their errors can end a run


class Rewards:
    """Scores answers, and counts those without a score, None: trl leaves them out of their group's mean."""

    def __init__(
        self,
        graders: Sequence[Grader],
        items: Sequence[dict[str, Any]] = (),
        setting: str = "method",
        ask: Ask = no_judge,
    ) -> None:
        self._engine, self._items, self._setting = Engine(graders, ask, isolated=True), items, f"{setting}.graders"
        self._graded, self._failed = 0, Counter[str]()

    def __call__(
        self, completions: list[str], row: list[int], log_metric: Callable[[str, float], None], **_: Any
    ) -> list[float | None]:
        """What trl calls: answers and the indices of their rows' fields."""
        scores = self.of(completions, [self._items[index] for index in row])
        log_metric("reward_errors", scores.count(None) / len(scores))
        return scores

    def of(self, answers: list[str], items: list[dict[str, Any]]) -> list[float | None]:
        """A score between 0 and 1 each, None where a grader failed. With more than a tenth of all failed, raises
        PermanentFailure: `judge_unreachable` of class platform if that is mostly a judge's silence, else
        `grader_errors` of class recipe."""
        grades = self._engine.grade(answers, items)  # its processes end with it
        failures = [grade for grade in grades if grade.score is None]
        self._graded += len(grades)
        self._failed.update(grade.errors[0].code for grade in failures)
        failed = self._failed.total()
        if self._graded >= MIN_GRADED and failed > ERROR_SHARE_MAX * self._graded:
            kinds = ", ".join(f"{code} {count} times" for code, count in self._failed.most_common())
            message = f"{failed} of {self._graded} answers could not be graded: {kinds}"
            if self._failed.most_common(1)[0][0] == GradingErrorCode.JUDGE_SERVER:
                raise PermanentFailure(FailureClass.PLATFORM, "judge_unreachable", message, self._setting)
            raise PermanentFailure(FailureClass.RECIPE, "grader_errors", message, self._setting)
        return [grade.score for grade in grades]
