"""What goes wrong in grading."""

from dataclasses import dataclass
from enum import StrEnum


class GradingErrorCode(StrEnum):
    """Named after the error fields of OpenAI's grader run (openai-python, types/fine_tuning/alpha)."""

    FORMULA = "formula_parse_error"
    INVALID_VARIABLE = "invalid_variable_error"
    JUDGE_PARSE = "model_grader_parse_error"
    JUDGE_SERVER = "model_grader_server_error"
    PYTHON_RUNTIME = "python_grader_runtime_error"
    PYTHON_SERVER = "python_grader_server_error"
    SAMPLE_PARSE = "sample_parse_error"
    UNRESPONSIVE = "unresponsive_reward_error"
    OTHER = "other_error"


# The judge failed, not the answer or the row: the row is left out for every model.
JUDGE_CODES = frozenset({GradingErrorCode.JUDGE_PARSE, GradingErrorCode.JUDGE_SERVER})


@dataclass(frozen=True)
class GradeError:
    """Why one grader could not grade one answer. The message holds no text of row or answer."""

    grader: str
    code: GradingErrorCode
    message: str


class BadGrader(ValueError):
    """A spec that can never work. `setting` is the dotted path inside the spec."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}")
        self.setting, self.message = setting, message


class GradingFailed(Exception):
    """Raised by a grader for one answer."""

    def __init__(self, code: GradingErrorCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class AnswerUnreadable(GradingFailed):
    """The answer lacks what the grader reads of it: the answer's own fault, so it scores 0."""

    def __init__(self, message: str) -> None:
        super().__init__(GradingErrorCode.SAMPLE_PARSE, message)
