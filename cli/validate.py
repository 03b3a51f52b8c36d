"""`validate`, `grade`: what the validator says of a file, and graders of answers; on this machine, without an API."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console, Group
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.common import AsJson, Exit, make_table
from cli.display import print_one
from cli.report_view import preview_view, report_view
from shared.domain.catalog import find_entry
from shared.domain.findings import Findings
from shared.domain.graders import judges_named
from shared.grading.engine import Engine, Grade
from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.validation.codes import CODES
from shared.validation.lines import chunks_of
from shared.validation.recipes import read_recipe, recipe_text
from shared.validation.sink import spooled_sink
from shared.validation.validator import Validated, validate

PROJECT = "local"
DEFAULT_BASE_MODEL = "droptune/tiny-llama"

Advance = Callable[[int], None]


def validate_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON Lines, a JSON array or a table")],
    recipe: Annotated[Path | None, typer.Option("--recipe", exists=True, dir_okay=False, help="recipe.yaml")] = None,
    held_out: Annotated[Path | None, typer.Option("--eval", exists=True, dir_okay=False, help="held-out rows")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", exists=True, file_okay=False, help="folder of the base model or its tokenizer"),
    ] = None,
    project: Annotated[str, typer.Option("--project", help="checks its name too")] = PROJECT,
    preview: Annotated[int, typer.Option("--preview", min=0, max=50, help="rows to show as the model reads them")] = 0,
    as_json: AsJson = False,
) -> None:
    """Check FILE as the pipeline does before a run; exit code 1 if a run would reject it.

    With --tokenizer the rows are counted in tokens too, and those the model cannot learn from are found.
    """
    if preview and tokenizer is None:
        raise typer.BadParameter("a preview needs --tokenizer")
    files = [file, *([held_out] if held_out else [])]

    def bundle_of(base_model: str) -> Bundle | None:
        arguments = find_entry(base_model).template_arguments
        return read_bundle_folder(tokenizer, arguments) if tokenizer else None

    with _progress(files) as advance, spooled_sink() as sink:
        validated = validate(
            _chunks(file, advance),
            _chunks(held_out, advance) if held_out else None,
            recipe_text(recipe) if recipe else None,
            project=project,
            file_name=file.name,
            default_base_model=DEFAULT_BASE_MODEL,
            sink=sink,
            bundle_of=bundle_of if tokenizer else None,
            names=None,
            previews=preview,
        )
    shown = Group(report_view(validated.report), *map(preview_view, validated.preview))
    print_one(as_json, _document(validated), shown)
    if not validated.report.passed:
        raise typer.Exit(Exit.REFUSED)


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    for chunk in chunks_of(path):
        yield chunk
        advance(len(chunk))


def _document(validated: Validated) -> dict[str, Any]:
    """The API's report, and beside it the rows asked for."""
    document = validated.report.model_dump(mode="json")
    if validated.preview:
        document["preview"] = [row.model_dump(mode="json") for row in validated.preview]
    return document


@contextmanager
def _progress(files: list[Path]) -> Iterator[Advance]:
    """A bar on stderr while bytes are read, removed at the end; none if stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(files[0].name, total=sum(path.stat().st_size for path in files))
        yield lambda count: progress.advance(task, count)


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
    print_one(as_json, [_grade_document(grade) for grade in grades], _grades_table(grades))
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


def _grade_document(grade: Grade) -> dict[str, Any]:
    errors = [{"grader": one.grader, "code": one.code.value, "message": one.message} for one in grade.errors]
    return {"score": grade.score, "sub_scores": grade.parts, "errors": errors}


def _grades_table(grades: list[Grade]) -> Table:
    table = make_table("line", "score", "by grader", right=("line", "score"))
    for number, grade in enumerate(grades, start=1):
        parts = [f"{name} {score:.3f}" for name, score in grade.parts.items()]
        parts += [f"{error.grader}: {error.code}: {error.message}" for error in grade.errors]
        table.add_row(str(number), "none" if grade.score is None else f"{grade.score:.3f}", ", ".join(parts))
    return table
