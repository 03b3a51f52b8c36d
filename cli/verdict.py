"""How a run ended: scores, gate, sample answers, cost, endpoint; or why there are none."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.client import Api, RequestRefused
from cli.common import make_grid, make_table
from shared.api.models import RunEvaluation
from shared.domain.evaluation import EvaluationResult, SampleAnswer, Verdict, detectable
from shared.domain.run import Run, Status

SAMPLES_SHOWN = 4
SAMPLE_CHARACTERS = 200


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
    gate = run.recipe.requested.evaluation.gate.confidence if run.recipe else 0.95
    confidence = result.gain_confidence or gate
    counted = f", attempt {result.attempt}" if result.gain_confidence else ""
    rows = f"{result.candidate.rows} held-out rows" + (f" in {result.groups} groups" if result.groups else "")
    shown = f"\n{detectable(result.gains[0])}" if result.gains and result.gains[0].detectable else ""
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
    return f"gain {gains} ({confidence * 100:.4g} % interval{counted}, {rows}){shown}{rates}{limit}"


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
