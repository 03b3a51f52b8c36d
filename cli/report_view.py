"""A validation report as rich renderables: problems, lengths in tokens, the plan, and rows as the model reads them."""

from collections.abc import Iterator
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.common import make_grid, make_table
from shared.domain.dataset import DataQuality, Plan, ProblemGroup, Report, ValueCount
from shared.domain.planning.methods import selection_rows
from shared.domain.tokens import Histogram, PreviewRow, TokenStatistics


def report_view(report: Report) -> Group:
    """The whole report: verdict, counts, what fields were read as, each problem with its fix, tokens, and the plan."""
    verdict = Text("passed", style="bold green") if report.passed else Text("rejected", style="bold red")
    counts = report.statistics
    summary = Text(
        f"format {report.format} in {report.container}; {counts.train_rows} training rows, {counts.eval_rows} held out "
        f"({'from a file of their own' if report.eval_source == 'file' else 'split off the training rows'}); "
        f"about {selection_rows(counts.train_rows)} training rows choose the checkpoint and are not learned; "
        f"{counts.messages_mean:.1f} messages and {counts.characters_mean:.0f} characters a row, "
        f"longest {counts.characters_max}"
    )
    parts: list[RenderableType] = [verdict, summary]
    if report.mapping:
        parts.append(Text("fields: " + "; ".join(f"{name} -> {part}" for name, part in report.mapping.items())))
    if counts.languages:
        parts.append(Text("languages: " + ", ".join(f"{name} {count}" for name, count in counts.languages.items())))
    parts += [Text(line) for line in _quality(report.quality)]
    parts.append(_problems(report.problems) if report.problems else Text("no problems found"))
    if report.not_searched_for:
        parts.append(Text(f"personal data not searched for: {', '.join(report.not_searched_for)}"))
    if report.tokens:
        parts.append(_tokens(report.tokens))
    elif counts.characters_per_row.counts:
        parts.append(_bars("characters a row", counts.characters_per_row))
    if report.plan:
        parts.append(_plan(report.plan))
    return Group(*parts)


def _quality(quality: DataQuality) -> Iterator[str]:
    """A line for the labels, for each field that sorts the rows, and for what is ignored."""
    if quality.distance:
        yield "held-out beside training questions: " + ", ".join(f"{name} {value}" for name, value in quality.distance)
    if quality.labels:
        yield "labels (training + held out): " + _values(quality.labels)
    for category in quality.categories:
        yield f"field {category.field}: {_values(category.values)}"
    if quality.ignored:
        yield "ignored: " + ", ".join(f"{one.what} ({one.rows})" for one in quality.ignored)


def _values(values: tuple[ValueCount, ...]) -> str:
    counts = (f"{one.train_rows}" if one.eval_rows is None else f"{one.train_rows} + {one.eval_rows}" for one in values)
    shown = [f"{one.value} {count}" for one, count in zip(values, counts, strict=True) if one.value]
    hidden = len(values) - len(shown)
    return ", ".join(shown + ([f"{hidden} not shown"] if hidden else []))


def _problems(problems: tuple[ProblemGroup, ...]) -> Table:
    table = make_table("", "problem", "count", "file", "rows (at byte)", "what to do")
    for group in problems:
        style = "red" if group.severity == "error" else "yellow"
        what = Text.assemble((group.code, style), f"\n{group.message}")
        severity = Text(group.severity, style=style)
        table.add_row(severity, what, str(group.count), group.file, _places(group), Text(group.fix))
    return table


def _places(group: ProblemGroup) -> str:
    """Row numbers; the first with its offset, from which an editor or `tail -c` finds it."""
    rows = [f"{row} {part}".rstrip() for row, part in zip_longest(group.rows, group.parts, fillvalue="")]
    if group.offsets:
        rows[0] += f" ({group.offsets[0]})"
    return ", ".join(rows) + (" ..." if 0 < len(rows) < group.count else "")


def _tokens(tokens: TokenStatistics) -> Group:
    """The training rows in tokens, with a bar for each range of lengths."""
    share = tokens.trained_tokens / max(1, tokens.tokens)
    lines = [
        f"{tokens.rows} training rows of {tokens.tokens} tokens, loss on {tokens.trained_tokens} ({share:.0%}); "
        f"median {tokens.tokens_median}, 95 % up to {tokens.tokens_p95}, longest {tokens.tokens_max}",
        f"limit {tokens.limit} ({tokens.over_length}): {tokens.rows_too_long} rows longer, {tokens.rows_truncated} cut",
        f"packed, the rows would fill {tokens.packed_sequences} sequences",
    ]
    return Group(Text("\n".join(lines)), _bars("tokens per row", tokens.lengths))


def _bars(title: str, histogram: Histogram) -> Table:
    table = make_grid(3)
    most = max(histogram.counts, default=1)
    table.add_row(Text(title, style="bold"))
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        bar = ProgressBar(total=most, completed=count, width=40)
        table.add_row(Text(f"to {edge}", justify="right"), bar, str(count))
    return table


def _plan(plan: Plan) -> Text:
    """Steps, tokens per step and the estimated cost of the run that this data would start."""
    power = "the held-out rows are too few to show any gain in 4 of 5 cases"
    if plan.smallest_gain is not None:
        gain = f"{plan.smallest_gain:.2f} (answers right or wrong, half of each)"
        power = f"smallest gain that the held-out rows show in 4 of 5 cases: {gain}"
    return Text(
        f"a run: {plan.n_epochs} epochs, {plan.total_steps} steps of {plan.rows_per_step} rows "
        f"(about {plan.tokens_per_step} tokens) on {plan.training_instance_type}, "
        f"{plan.low_usd:.2f} to {plan.high_usd:.2f} USD estimated ({plan.low_hours:.2f} to {plan.high_hours:.2f} h)\n"
        f"{power}"
    )


def preview_view(row: PreviewRow) -> Panel:
    """A row as the model reads it; what it learns is in double brackets, for a log without colors."""
    text = Text()
    for piece in row.pieces:
        if piece.has_loss:
            text.append(f"\u27e6{piece.text}\u27e7", style="bold green")
        else:
            text.append(piece.text, style="dim")
    return Panel(text, title=f"{row.file} row {row.row}: loss on {row.trained_tokens} of {row.tokens} tokens")
