"""A run as rich renderables: its stages, its loss curve, and how it ended."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.common import make_grid, make_table
from cli.follow import PlotPoint, Update
from cli.verdict import gain_line, score_table
from shared.api.models import Progress
from shared.domain.run import Run, Status, Transition

HAPPY_PATH = tuple(
    map(Status, ("received", "validated", "training", "evaluating", "approved", "deploying", "deployed"))
)
# Statuses beside the happy path, by the one they stand for on it.
DETOURS = {
    Status.VALIDATING: Status.RECEIVED,
    Status.TRAINED: Status.TRAINING,
    Status.AWAITING_APPROVAL: Status.EVALUATING,
}
GOOD_END = frozenset({Status.DEPLOYED, Status.DUPLICATE})


def seconds(value: float) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 07 min`."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def stages(run: Run) -> list[Transition]:
    """History with consecutive lines of one status merged; each keeps its note, on a line of its own."""
    merged: list[Transition] = []
    for line in run.history:
        if merged and merged[-1].status == line.status:
            notes = [note for note in (merged[-1].note, line.note) if note]
            merged[-1] = merged[-1].model_copy(update={"note": "\n".join(notes)})
        else:
            merged.append(line)
    return merged


def stage_seconds(run: Run, now: datetime | None = None) -> list[tuple[Transition, float]]:
    """Each stage with the seconds spent in it; the last one's run until `now`, or are 0 at the end."""
    lines = stages(run)
    end = run.ended_at or now or datetime.now(UTC)
    ends = [*(line.at for line in lines[1:]), end]
    return [(line, max(0.0, (after - line.at).total_seconds())) for line, after in zip(lines, ends, strict=True)]


def stage_detail(run: Run, status: Status) -> str:
    """What is known about a stage in a few words; empty if nothing yet."""
    match status:
        case Status.RECEIVED:
            return f"{run.dataset.path.rsplit('/', 1)[-1]}, {decimal(run.dataset.size_bytes)}"
        case Status.VALIDATED if run.curated:
            return f"{run.curated.train_rows} rows to train on, {run.curated.eval_rows} held out"
        case Status.TRAINING if run.training:
            counted = f"{run.training.last_step} steps, {run.training.processed_tokens:,} tokens processed"
            return ". ".join((counted, " ".join(run.training.diagnosis))) if run.training.diagnosis else counted
        case Status.EVALUATING if run.evaluation:
            result = run.evaluation
            return f"base {result.base.mean:.3f}, tuned {result.candidate.mean:.3f}"
        case Status.DEPLOYING if run.rollout:
            return f"{run.rollout.endpoint}/{run.rollout.deployment}, traffic {traffic(run.rollout.traffic)}"
        case Status.REJECTED if run.validation:
            return ", ".join(run.validation.codes)
        case Status.FAILED if run.error:
            return run.error.problem.code
        case _:
            return ""


def traffic(split: dict[str, int]) -> str:
    """`a 90 %, b 10 %`."""
    return ", ".join(f"{name} {share} %" for name, share in split.items()) or "none"


def live(update: Update, now: datetime | None = None) -> Group:
    run = update.run
    heading = Text.assemble((f"{run.project}  ", "bold"), f"run {run.id}")
    parts: list[RenderableType] = [heading, _table(update, now)]
    if curve := plot(update.loss):
        parts += [Text("training loss", style="bold"), Text("\n".join(curve), style="cyan")]
    if run.status == Status.AWAITING_APPROVAL:
        parts.append(decision_view(run))
    parts += [Text(line, style="yellow") for line in attention_lines(run)]
    if not update.reachable:
        parts.append(Text("the API does not answer; trying again...", style="yellow"))
    return Group(*parts)


def attention_lines(run: Run) -> list[str]:
    """What timers fail at with the run now."""
    return [
        f"{one.timer} fails with this run at each tick since {one.since.astimezone():%Y-%m-%d %H:%M}: {one.problem}"
        for one in run.attention
    ]


def decision_view(run: Run) -> Group:
    """What a person needs to decide: the numbers, how to say it, and until when."""
    parts: list[RenderableType] = []
    if run.evaluation:
        parts += [score_table(run, run.evaluation), Text(gain_line(run, run.evaluation))]
    until = f"; without one it is declined at {run.deadline_at.astimezone():%Y-%m-%d %H:%M}" if run.deadline_at else ""
    parts.append(Text(f"the run waits for a decision{until}", style="bold yellow"))
    parts.append(Text(f"droptune approve {run.id}    or    droptune deny {run.id} -m WHY"))
    return Group(*parts)


def _table(update: Update, now: datetime | None) -> Table:
    run = update.run
    table = make_grid(4)
    timed = stage_seconds(run, now)
    for index, (line, spent) in enumerate(timed):
        current = index == len(timed) - 1
        mark, style = _mark(run, line.status, current=current)
        detail: RenderableType = Text("\n".join(filter(None, (stage_detail(run, line.status), line.note))))
        if current and update.progress:
            bar = ProgressBar(total=max(1, update.progress.total_steps), completed=update.progress.step, width=30)
            detail = make_grid(2)
            detail.add_row(bar, Text(progress_text(update.progress)))
        ended = current and run.terminal
        table.add_row(mark, Text(line.status, style=style), "" if ended else seconds(spent), detail)
    for status in _ahead(run):
        table.add_row("", Text(status, style="dim"), "", "")
    return table


def _mark(run: Run, status: Status, *, current: bool) -> tuple[Text, str]:
    if not current:
        return Text("✔", style="green"), ""
    if not run.terminal:
        return Text("●", style="yellow"), "bold yellow"
    good = status in GOOD_END
    return Text("✔" if good else "✘", style="green" if good else "red"), "bold green" if good else "bold red"


def _ahead(run: Run) -> tuple[Status, ...]:
    status = DETOURS.get(run.status, run.status)
    if status not in HAPPY_PATH:
        return ()
    return HAPPY_PATH[HAPPY_PATH.index(status) + 1 :]


def progress_text(progress: Progress) -> str:
    """`step 120/400, 21 s left`."""
    left = f", {seconds(progress.eta_s)} left" if progress.eta_s is not None else ""
    return f"step {progress.step}/{progress.total_steps}{left}"


def runs_table(runs: Iterable[Run]) -> Table:
    table = make_table("run", "project", "status", "created", "dataset", "gain", whole=("run",))
    for run in runs:
        gain = next((g for g in run.evaluation.gains if g.over == "base"), None) if run.evaluation else None
        table.add_row(
            run.id,
            run.project,
            run.status,
            f"{run.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
            run.dataset.path.rsplit("/", 1)[-1],
            f"{gain.mean:+.3f}" if gain else "",
        )
    return table


def plot(points: Sequence[PlotPoint], *, width: int = 60, height: int = 8) -> list[str]:
    """Draw a curve as `height` lines of `width` braille cells, labeled with its largest and smallest value.

    Points that are beyond 1e300 or not finite are left out; nothing is drawn for fewer than two. The last value of a
    step wins: a resumed job logs a step again.
    """
    kept = sorted({step: value for step, value in points if abs(value) < 1e300}.items())
    if len(kept) < 2:
        return []
    from plotille import Canvas  # type: ignore[import-untyped]  # only where there is a curve

    low, high = min(value for _, value in kept), max(value for _, value in kept)
    flat = 0.0 if high - low > 1e-300 else max(abs(high), 1.0)  # drawn in the middle
    canvas = Canvas(width, height, kept[0][0], low - flat, kept[-1][0], high + flat)
    for start, end in pairwise(kept):
        canvas.line(*start, *end)
    labels = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"][:height]
    margin = max(map(len, labels))
    return [f"{label:>{margin}} ┤{row}" for label, row in zip(labels, canvas.plot().splitlines(), strict=True)]
