"""A validation report as rich renderables: problems, lengths in tokens, the plan, and rows as the model reads them."""

from __future__ import annotations

from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.domain.cost import CostEstimate
from shared.domain.dataset import Report
from shared.domain.recipe import ResolvedRecipe
from shared.domain.tokens import PreviewRow, TokenStatistics


def report_view(report: Report) -> Group:
    """The validation report: the verdict, the counts, and each problem with its fix."""
    verdict = Text("passed", style="bold green") if report.passed else Text("rejected", style="bold red")
    counts = report.statistics
    summary = Text(
        f"format {report.format}; {counts.train_rows} training rows, {counts.eval_rows} held out "
        f"({'from eval*.jsonl' if report.eval_source == 'file' else 'carved out of the training rows'}); "
        f"{counts.messages_mean:.1f} messages and {counts.characters_mean:.0f} characters a row, "
        f"longest {counts.characters_max}"
    )
    if not report.problems:
        return Group(verdict, summary, Text("no problems found"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "problem", "count", "file", "rows", "what to do"):
        table.add_column(column)
    for group in report.problems:
        style = "red" if group.severity == "error" else "yellow"
        rows = ", ".join(map(str, group.rows)) + (" ..." if 0 < len(group.rows) < group.count else "")
        what = Text.assemble((group.code, style), f"\n{group.message}")
        severity = Text(group.severity, style=style)
        table.add_row(severity, what, str(group.count), group.file, rows, Text(group.fix))
    return Group(verdict, summary, table)


def tokens_view(tokens: TokenStatistics) -> Group:
    """The training rows in tokens, with a bar for each range of lengths."""
    share = tokens.trained_tokens / max(1, tokens.tokens)
    lines = [
        f"{tokens.rows} training rows of {tokens.tokens} tokens, loss on {tokens.trained_tokens} ({share:.0%}); "
        f"median {tokens.tokens_median}, 95 % up to {tokens.tokens_p95}, longest {tokens.tokens_max}",
        f"limit {tokens.limit} ({tokens.over_length}): {tokens.rows_too_long} rows longer, {tokens.rows_truncated} cut",
        f"packed, the rows would fill {tokens.packed_sequences} sequences",
    ]
    table = Table.grid(padding=(0, 2))
    most = max(tokens.lengths.counts, default=1)
    for edge, count in zip(tokens.lengths.edges, tokens.lengths.counts, strict=True):
        table.add_row(
            Text(f"to {edge}", justify="right"), ProgressBar(total=most, completed=count, width=40), str(count)
        )
    return Group(Text("\n".join(lines)), table)


def plan_view(resolved: ResolvedRecipe, cost: CostEstimate, tokens: TokenStatistics | None) -> Text:
    """Steps, tokens a step and the estimated cost of the run that this data would start."""
    chosen = resolved.hyperparameters
    said = f"a run: {chosen.n_epochs} epochs, {chosen.total_steps} steps of {chosen.batch_size} rows"
    if tokens:
        said += f" (about {chosen.batch_size * tokens.tokens_mean:.0f} tokens)"
    said += (
        f" on {resolved.training_instance_type}, {cost.low_usd:.2f} to {cost.high_usd:.2f} USD estimated"
        f" ({cost.hours_low:.2f} to {cost.hours_high:.2f} h)"
    )
    return Text(said)


def preview_view(row: PreviewRow) -> Panel:
    """A row as the model reads it; what it learns is in double brackets, for a log without colours."""
    text = Text()
    for piece in row.pieces:
        if piece.learned:
            text.append(f"\u27e6{piece.text}\u27e7", style="bold green")
        else:
            text.append(piece.text, style="dim")
    return Panel(text, title=f"{row.file} row {row.row}: loss on {row.trained_tokens} of {row.tokens} tokens")
