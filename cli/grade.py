"""`droptune grade`: what a recipe's graders give answers, on this machine and without an API."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.table import Table

from cli.common import AsJson, Exit, make_table
from cli.display import print_one
from cli.validate import DEFAULT_BASE_MODEL
from shared.domain.findings import Findings
from shared.domain.graders import judges_named
from shared.grading.engine import Engine, Grade
from shared.validation.codes import CODES
from shared.validation.recipes import read_recipe


class Answer(BaseModel):
    """A line of the file: a model's answer, and the fields of its row."""

    output_text: str
    item: dict[str, Any] = {}


def grade_file(
    recipe: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="recipe.yaml")],
    answers: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help='JSON lines: {"output_text": ..., "item": ...}')
    ],
    as_json: AsJson = False,
) -> None:
    """Grade answers as an evaluation would; exit code 1 if the recipe has a problem or a grader fails."""
    findings = Findings(CODES)
    read = read_recipe(recipe.read_bytes(), DEFAULT_BASE_MODEL, findings).recipe
    given = _read_answers(answers)
    if read is None:
        for problem in findings.problems():
            print(problem.message, file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)
    if judges := judges_named(read.evaluation.graders):
        print(f"judge_needs_api: {', '.join(judges)} is asked by POST /api/graders/run, not from here", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED)
    with Engine(read.evaluation.graders) as engine:
        grades = engine.grade([one.output_text for one in given], [one.item for one in given])
    print_one(as_json, [_document(grade) for grade in grades], _table(grades))
    if any(grade.score is None for grade in grades):
        raise typer.Exit(Exit.REFUSED)


def _read_answers(path: Path) -> list[Answer]:
    answers = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            answers.append(Answer.model_validate_json(line))
        except ValidationError as error:
            print(f"{path.name}, line {number}: {error.errors()[0]['msg']}", file=sys.stderr)
            raise typer.Exit(Exit.REFUSED) from error
    return answers


def _document(grade: Grade) -> dict[str, Any]:
    errors = [{"grader": one.grader, "code": one.code.value, "message": one.message} for one in grade.errors]
    return {"score": grade.score, "sub_scores": grade.parts, "errors": errors}


def _table(grades: list[Grade]) -> Table:
    table = make_table("line", "score", "by grader", right=("line", "score"))
    for number, grade in enumerate(grades, start=1):
        parts = [f"{name} {score:.3f}" for name, score in grade.parts.items()]
        parts += [f"{error.grader}: {error.code}: {error.message}" for error in grade.errors]
        table.add_row(str(number), "none" if grade.score is None else f"{grade.score:.3f}", ", ".join(parts))
    return table
