"""A run as rich renderables: its stages, its loss curve, and how it ended: scores, gate, sample answers, cost."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.client import Api, RequestRefused
from cli.common import make_grid, make_table
from cli.follow import PlotPoint, Update
from shared.api.models import Progress, RunEvaluation
from shared.domain.evaluation import EvaluationResult, SampleAnswer, Verdict, detectable, percent
from shared.domain.recipe import Gate
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
SAMPLES_SHOWN = 4
SAMPLE_CHARACTERS = 200


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
            return f"{run.curated.train_rows} training rows, {run.curated.eval_rows} held out"
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
        parts += [score_table(run, run.evaluation), Text(gain_line(run, run.evaluation)), *skipped_checks(run.verdict)]
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
    """A curve as `height` lines of `width` braille cells, labeled with its largest and smallest value; none for fewer
    than two points. Those beyond 1e300 are left out. The last value of a step wins: a resumed job logs a step again."""
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


def verdict_view(api: Api, run: Run) -> Group:
    """The end of a run, as far as it got; asks the API for the sample answers."""
    style = "bold green" if run.status == Status.DEPLOYED else "bold red"
    parts: list[RenderableType] = [Text(f"{run.project}: {run.status}", style=style)]
    if run.error:
        problem = run.error.problem
        where = f" ({problem.param})" if problem.param else ""
        parts.append(Text(f"{run.error.failure_class}: {problem.code}: {problem.message}{where}"))
    if run.status == Status.REJECTED:
        parts.append(Text(f"what is wrong and how to fix it: droptune report {run.id}"))
    if run.duplicate_of:
        parts.append(Text(f"the same data and recipe as run {run.duplicate_of}"))
    for one in dict.fromkeys([*run.approvals, *([run.decision] if run.decision else [])]):  # the last may be both
        comment = f": {one.comment}" if one.comment else ""
        parts.append(Text(f"{'approved' if one.granted else 'denied'} by {one.by}{comment}"))
    if run.evaluation:
        parts += _evaluation_parts(run, _evaluation(api, run.id), run.evaluation)
    if run.cost:
        parts.append(Text(cost_line(run)))
    return Group(*parts)


def _evaluation(api: Api, run_id: str) -> RunEvaluation:
    try:
        return api.evaluation(run_id)
    except RequestRefused:
        return RunEvaluation()


def _evaluation_parts(run: Run, extra: RunEvaluation, result: EvaluationResult) -> list[RenderableType]:
    parts: list[RenderableType] = [score_table(run, result), Text(gain_line(run, result))]
    if result.slices:
        parts.append(slice_table(result))
    verdict = run.verdict or extra.verdict
    if verdict and not verdict.passed:
        parts.append(failed_checks(verdict))
    parts += skipped_checks(verdict)
    if extra.samples:
        parts.append(sample_view(extra.samples))
    return parts


def score_table(run: Run, result: EvaluationResult) -> Table:
    """Each model's mean score with its interval."""
    numbers = ("score", "interval", "tokens/answer", "s/answer")
    table = make_table("model", *numbers, whole=("model",), right=numbers)  # a champion is named by its run id
    base = run.recipe.requested.base_model if run.recipe else "base"
    named = (("base", base), ("champion", run.champion or "champion"), ("candidate", "tuned"))
    for key, label in named:
        score = getattr(result, key)
        if score is None:
            continue
        tokens, spent = result.tokens_per_answer.get(key), result.seconds_per_answer.get(key)
        table.add_row(
            label,
            Text(f"{score.mean:.3f}", style="bold" if key == "candidate" else ""),
            f"{score.low:.3f} to {score.high:.3f}",
            "" if tokens is None else f"{tokens:.1f}",
            "" if spent is None else f"{spent:.3f}",
        )
    for baseline in result.baselines:
        found = baseline.score
        words = Text(baseline.name.replace("_", " "), style="dim")
        table.add_row(words, f"{found.mean:.3f}", f"{found.low:.3f} to {found.high:.3f}", "", "")
    return table


def gain_line(run: Run, result: EvaluationResult) -> str:
    """`gain +0.506 [+0.430, +0.580] over base (95 % interval, 120 held-out rows)`, and how many answers were cut."""
    gate = run.recipe.requested.evaluation.gate if run.recipe else Gate()
    confidence = result.gain_confidence or gate.confidence
    counted = f", attempt {result.attempt}" if result.gain_confidence else ""
    rows = f"{result.candidate.rows} held-out rows" + (f", worth {result.groups} groups" if result.groups else "")
    shown = f"\n{detectable(result.gains[0], gate.min_gain)}" if result.gains and result.gains[0].detectable else ""
    gains = "; ".join(f"{g.mean:+.3f} [{g.low:+.3f}, {g.high:+.3f}] over {g.over}" for g in result.gains)
    cut = ", ".join(f"{name} {share * 100:.3g} %" for name, share in result.answers_at_limit.items() if share)
    rates = "".join(
        f"\n{part.grader}: {part.label}: {name} {share}"
        for part in result.rates.get("candidate", ())
        for name, share in (("sensitivity", part.sensitivity), ("specificity", part.specificity))
        if share
    )
    rates += f"\npairs answered alike: {alike}" if (alike := result.pairs.get("candidate")) else ""
    limit = f"\nanswers cut at evaluation.max_new_tokens: {cut}" if cut else ""
    return f"gain {gains} ({percent(confidence)} interval{counted}, {rows}){shown}{rates}{limit}"


def slice_table(result: EvaluationResult) -> Table:
    with_champion = any(part.champion is not None for part in result.slices)
    numbers = ("rows", "base", *(["champion"] if with_champion else []), "tuned")
    table = make_table("slice", *numbers, right=numbers)
    for part in result.slices:
        champion = [] if not with_champion else ["" if part.champion is None else f"{part.champion:.3f}"]
        style = "red" if part.candidate < part.base else ""
        table.add_row(
            f"{part.field} = {part.value}",
            str(part.rows),
            f"{part.base:.3f}",
            *champion,
            Text(f"{part.candidate:.3f}", style=style),
        )
    return table


def failed_checks(verdict: Verdict) -> Text:
    """The gate's reasons against the candidate."""
    lines = [f"✘ {check.name}: {check.detail}" for check in verdict.checks if check.blocks]
    return Text("\n".join(lines), style="red")


def skipped_checks(verdict: Verdict | None) -> list[Text]:
    """A line for the checks that did not apply, each with its reason; none if all did."""
    lines = [f"{check.name}: {check.detail}" for check in verdict.checks if check.skipped] if verdict else []
    return [Text(f"skipped: {'; '.join(lines)}", style="yellow")] if lines else []


def sample_view(samples: tuple[SampleAnswer, ...]) -> Group:
    """A few held-out rows with both answers; those that differ first, for they show what was learned."""
    chosen = sorted(samples, key=lambda sample: sample.base == sample.candidate)[:SAMPLES_SHOWN]
    table = make_grid(2)
    for sample in chosen:
        table.add_row(Text(f"row {sample.row}", style="bold"), Text(_short(sample.prompt, end=True), style="bold"))
        table.add_row(Text("base", style="dim"), Text(_short(sample.base), style="dim"))
        table.add_row("tuned", Text(_short(sample.candidate), style="green"))
        table.add_row(Text("reference", style="dim"), Text(_short(sample.reference), style="dim"))
        table.add_row("", "")
    return Group(Text("held-out rows, before and after", style="bold"), table)


def _short(text: str, *, end: bool = False) -> str:
    """So much of it as is shown; of a conversation the end, for its last words are the question."""
    line = " ".join(text.split())
    if len(line) <= SAMPLE_CHARACTERS:
        return line
    return f"...{line[3 - SAMPLE_CHARACTERS :]}" if end else f"{line[: SAMPLE_CHARACTERS - 3]}..."


def cost_line(run: Run) -> str:
    assert run.cost is not None
    cost = run.cost
    if cost.hourly_usd == 0:
        return "cost: none, the jobs ran on a machine without a price"
    actual = "" if cost.actual_usd is None else f", counted {cost.actual_usd:.4f} USD"
    estimate = f"{cost.low_usd:.4f} to {cost.high_usd:.4f} USD"
    return f"cost in Azure: estimated {estimate}{actual}, at {cost.hourly_usd:.2f} USD/h"
