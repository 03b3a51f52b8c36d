"""Graders at work: answers and rows to scores. One engine for evaluation, rewards and dry runs; no torch, no Azure."""

from shared.grading.engine import Engine, Grade, fields, problems
from shared.grading.errors import BadGrader, Code, GradeError

__all__ = ["BadGrader", "Code", "Engine", "Grade", "GradeError", "fields", "problems"]
