"""Graders at work: answers and rows to scores. One engine for evaluation, rewards and dry runs; no torch, no Azure."""

from shared.grading.engine import Engine, Grade, fields, problems
from shared.grading.errors import JUDGE_CODES, BadGrader, Code, GradeError, GradingFailed
from shared.grading.judging import Ask, Message, Opinion

__all__ = [
    "JUDGE_CODES",
    "Ask",
    "BadGrader",
    "Code",
    "Engine",
    "Grade",
    "GradeError",
    "GradingFailed",
    "Message",
    "Opinion",
    "fields",
    "problems",
]
