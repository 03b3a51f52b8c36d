"""Graders at work: answers and rows to scores. One engine for evaluation, rewards and dry runs; no torch, no Azure."""

from shared.grading.engine import Engine, Grade, fields, given_to_any_answer, problems, read_fields, row_check
from shared.grading.errors import JUDGE_CODES, BadGrader, GradeError, GradingErrorCode, GradingFailed
from shared.grading.llm_judge import Ask, ChatMessage, JudgeReply

__all__ = [
    "JUDGE_CODES",
    "Ask",
    "BadGrader",
    "ChatMessage",
    "Engine",
    "Grade",
    "GradeError",
    "GradingErrorCode",
    "GradingFailed",
    "JudgeReply",
    "fields",
    "given_to_any_answer",
    "problems",
    "read_fields",
    "row_check",
]
