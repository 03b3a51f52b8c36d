"""`droptune validate`: what the pipeline's validator says of a file, on this machine and without an API."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cli.display import make_console
from cli.exit_codes import Exit
from cli.options import AsJson
from cli.report_view import plan_view, preview_view, report_view, tokens_view
from shared.domain.catalogue import find_entry
from shared.domain.cost import CostEstimate
from shared.domain.dataset import Report
from shared.domain.errors import PermanentFailure
from shared.domain.planning import estimate_cost, resolve
from shared.domain.recipe import AUTO, Recipe, ResolvedRecipe
from shared.rendering import read_bundle_folder
from shared.rendering.check import LengthPolicy
from shared.rendering.facts import TokenFacts
from shared.validation import Validated, spooled_sink, validate
from shared.validation.codes import MAX_RECIPE_BYTES

CHUNK_BYTES = 1 << 20
PROJECT = "local"
DEFAULT_BASE_MODEL = "droptune/tiny-llama"

Advance = Callable[[int], None]
Plan = tuple[ResolvedRecipe, CostEstimate]


def validate_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON lines, also gzipped")],
    recipe: Annotated[Path | None, typer.Option("--recipe", exists=True, dir_okay=False, help="recipe.yaml")] = None,
    held_out: Annotated[Path | None, typer.Option("--eval", exists=True, dir_okay=False, help="held-out rows")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", exists=True, file_okay=False, help="folder of the base model or its tokenizer"),
    ] = None,
    preview: Annotated[int, typer.Option("--preview", min=0, max=50, help="rows to show as the model reads them")] = 0,
    as_json: AsJson = False,
) -> None:
    """Check FILE as the pipeline does before a run; exit code 1 if a run would reject it.

    With --tokenizer the rows are counted in tokens too, and those the model cannot learn from are found.
    """
    if preview and tokenizer is None:
        raise typer.BadParameter("a preview needs --tokenizer")
    files = [file, *([held_out] if held_out else [])]
    count_tokens = _counter(tokenizer, preview) if tokenizer else None
    with _progress(files) as advance:
        validated = _validated(file, held_out, recipe, count_tokens, advance)
    report, facts = validated.report, validated.tokens
    plan = _plan(validated.recipe, report, facts)
    if as_json:
        print(json.dumps(_document(report, facts, plan), indent=2))
    else:
        _show(make_console(), report, facts, plan)
    if not report.passed:
        raise typer.Exit(Exit.REFUSED)


def _validated(
    file: Path,
    held_out: Path | None,
    recipe: Path | None,
    count_tokens: Callable[[Recipe], TokenFacts] | None,
    advance: Advance,
) -> Validated:
    with spooled_sink() as sink:
        return validate(
            _chunks(file, advance),
            _chunks(held_out, advance) if held_out else None,
            _head(recipe, MAX_RECIPE_BYTES + 1) if recipe else None,
            project=PROJECT,
            file_name=file.name,
            default_base_model=DEFAULT_BASE_MODEL,
            sink=sink,
            count_tokens=count_tokens,
        )


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            advance(len(chunk))


def _head(path: Path, count: int) -> bytes:
    """The validator refuses a longer recipe, so no more of it is read."""
    with path.open("rb") as file:
        return file.read(count)


def _counter(folder: Path, previews: int) -> Callable[[Recipe], TokenFacts]:
    """Counts rows in tokens of the bundle in a folder, up to the recipe's longest row."""
    try:
        bundle = read_bundle_folder(folder)
    except PermanentFailure as error:
        print(f"{folder}: {error.problem.message}", file=sys.stderr)
        raise typer.Exit(Exit.REFUSED) from error

    def count(recipe: Recipe) -> TokenFacts:
        wanted = recipe.method.hyperparameters.max_length_tokens
        limit = find_entry(recipe.base_model).context_tokens if wanted == AUTO else wanted
        return TokenFacts(bundle, LengthPolicy(limit, recipe.data.over_length), previews)

    return count


def _plan(recipe: Recipe | None, report: Report, facts: TokenFacts | None) -> Plan | None:
    """What the run would be; None for data that would be rejected."""
    if recipe is None or not report.passed:
        return None
    rows = report.statistics
    resolved = resolve(
        recipe,
        PROJECT,
        train_rows=rows.train_rows,
        characters_max=rows.characters_max,
        tokens_max=facts.longest() if facts else None,
    )
    estimate = estimate_cost(
        resolved,
        train_rows=rows.train_rows,
        eval_rows=rows.eval_rows,
        characters_mean=rows.characters_mean,
        tokens_mean=facts.statistics().tokens_mean if facts else None,
    )
    return resolved, estimate


def _document(report: Report, facts: TokenFacts | None, plan: Plan | None) -> dict[str, Any]:
    """The API's report, and beside it what only this command knows."""
    document = report.model_dump(mode="json")
    if facts:
        document["tokens"] = facts.statistics().model_dump(mode="json")
        document["preview"] = [row.model_dump(mode="json") for row in facts.preview]
    if plan:
        document["plan"] = {"recipe": plan[0].model_dump(mode="json"), "cost": plan[1].model_dump(mode="json")}
    return document


def _show(console: Console, report: Report, facts: TokenFacts | None, plan: Plan | None) -> None:
    console.print(report_view(report))
    if facts:
        console.print(tokens_view(facts.statistics()))
    if plan:
        console.print(plan_view(*plan, facts.statistics() if facts else None))
    if facts:
        for row in facts.preview:
            console.print(preview_view(row))


@contextmanager
def _progress(files: list[Path]) -> Iterator[Advance]:
    """A bar on stderr while bytes are read, gone at the end; none where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(files[0].name, total=sum(path.stat().st_size for path in files))
        yield lambda count: progress.advance(task, count)
