"""`droptune rate`: an expert compares two models' answers without their names; a report counts what is preferred."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.common import InputError, make_table
from cli.display import make_console
from cli.expert_page import ExpertDecision, Port, Sample, Task, content_hash, read_decisions, sampled, serve
from shared.domain.evaluation import GradedRow, wilson
from shared.domain.upgrades import read_file

VERDICTS = CANDIDATE, OTHER, TIE, BOTH_BAD = "candidate", "other", "tie", "both_bad"
SUFFIX = ".ratings.jsonl"
Rows = dict[str, GradedRow]


def rate(
    rows: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="rows.jsonl of an evaluation")],
    reviewer: Annotated[str | None, typer.Option("--reviewer", help="your name")] = None,
    sample: Sample = None,
    report: Annotated[bool, typer.Option("--report", help="print what reviewers preferred")] = False,
    port: Port = 0,
) -> None:
    """Show the candidate's answer and that of the model it would replace, without names, and take the better one.

    Each rating is appended to ROWS.ratings.jsonl at once; a second start goes on where the first ended.
    """
    if report == bool(reviewer):
        raise typer.BadParameter("give either --reviewer or --report")
    if report:
        _report(_read(rows), rows.with_suffix(SUFFIX))
    else:
        serve(rate_task(rows, str(reviewer), sample), port)


def _read(path: Path) -> Rows:
    rows = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = read_file(GradedRow, line)
            rows[content_hash([row.row, row.prompt, *_answers(row)])] = row
        except (ValidationError, KeyError) as error:
            raise InputError(f"{path.name}, line {number} is no row of an evaluation: {error}") from error
    return rows


def _answers(row: GradedRow) -> tuple[str, str]:
    """The candidate's, and that of the model it would replace."""
    return row.answers[CANDIDATE], row.answers["champion" if "champion" in row.answers else "base"]


def candidate_first(rows: Iterable[str], reviewer: str) -> set[str]:
    """The rows whose answer A is the candidate's: half of them, by a hash of row and reviewer."""
    ordered = sorted(rows, key=lambda one: content_hash([reviewer, one]))
    return {*ordered[: len(ordered) // 2]}


def rate_task(file: Path, reviewer: str, sample: int | None) -> Task:
    # Two equal answers are a tie that nobody has to see.
    rows = sampled({one: row for one, row in _read(file).items() if len({*_answers(row)}) == 2}, sample)
    first = candidate_first(rows, reviewer)

    def show(one: str) -> dict[str, Any]:
        answers = _answers(rows[one])
        prompt = [{"role": "prompt", "text": rows[one].prompt}]
        return {"prompt": prompt, "answers": answers if one in first else answers[::-1]}

    def check(given: ExpertDecision) -> ExpertDecision:
        models = {"A": CANDIDATE, "B": OTHER} if given.row in first else {"A": OTHER, "B": CANDIDATE}
        preferred = {**models, TIE: TIE, BOTH_BAD: BOTH_BAD}.get(given.decision)
        if preferred is None:
            raise InputError("A, B, tie or both_bad")
        return given.model_copy(update={"preferred": preferred})

    return Task(rows, show, check, file.with_suffix(SUFFIX), reviewer)


def _report(rows: Rows, path: Path) -> None:
    by_row: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for rating in read_decisions(path):
        if rating.preferred in VERDICTS and rating.row in rows:
            by_row[rating.row][rating.reviewer] = rating.preferred
    if not by_row:
        raise InputError(f"{path.name} has no rating of these rows")
    verdicts = {one: _verdict([*given.values()]) for one, given in by_row.items()}
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one, verdict in verdicts.items():
        for name in ("all", *(f"{field}={value}" for field, value in rows[one].slices.items())):
            groups[name].append(verdict)
    table = make_table("rows", "rated", "wins", "losses", "ties", "both bad", "win rate", "95 % interval")
    for name, group in sorted(groups.items(), key=lambda item: (item[0] != "all", item[0])):
        counts = [group.count(verdict) for verdict in VERDICTS]
        wins, decided = counts[0], counts[0] + counts[1]
        low, high = wilson(wins, decided) if decided else (0.0, 1.0)
        share = f"{wins / decided:.3f}" if decided else "none"
        table.add_row(name, str(len(group)), *map(str, counts), share, f"{low:.3f} to {high:.3f}")
    make_console().print(table)
    print(_agreement(by_row), _graders(rows, verdicts), sep="\n")


def _verdict(given: list[str]) -> str:
    """One vote a row, for its ratings are not independent: the answer that more reviewers prefer, else a tie."""
    wins, losses = given.count(CANDIDATE), given.count(OTHER)
    if wins != losses:
        return CANDIDATE if wins > losses else OTHER
    return BOTH_BAD if given.count(BOTH_BAD) > len(given) / 2 else TIE


def _agreement(by_row: Mapping[str, Mapping[str, str]]) -> str:
    shared = [given for given in by_row.values() if len(given) > 1]
    if not shared:
        return "agreement: no row was rated by two reviewers"
    reviewers = sorted({who for given in shared for who in given})
    units = [[given[who] for who in reviewers if who in given] for given in shared]
    two = len(reviewers) == 2
    name, value = ("Cohen's kappa", cohen_kappa(units)) if two else ("Krippendorff's alpha", krippendorff_alpha(units))
    beyond = "undefined, all ratings are equal" if value is None else f"{value:.3f}"
    return f"agreement of {len(reviewers)} reviewers on {len(units)} rows: {agreement(units):.1%}; {name} {beyond}"


def _graders(rows: Rows, verdicts: Mapping[str, str]) -> str:
    """How often the graders prefer the answer that the experts prefer."""
    counts: Counter[bool | None] = Counter()
    for one, verdict in verdicts.items():
        if verdict in (CANDIDATE, OTHER) and (change := rows[one].change) is not None:
            counts[None if change == 0 else (change > 0) == (verdict == CANDIDATE)] += 1
    return (
        f"graders prefer the experts' answer on {counts[True]} of {counts.total()} rows where experts prefer one, "
        f"the other on {counts[False]}, none on {counts[None]}"
    )


Units = Collection[Sequence[str]]  # the ratings of each row, two or more


def agreement(units: Units) -> float:
    """Share of equal pairs of ratings of one row, the mean over rows."""
    return sum(_equal_pairs(unit) / math.comb(len(unit), 2) for unit in units) / len(units)


def _equal_pairs(ratings: Sequence[str]) -> int:
    return sum(math.comb(count, 2) for count in Counter(ratings).values())


def cohen_kappa(pairs: Units) -> float | None:
    """Agreement of two reviewers beyond chance (Cohen 1960); None where all ratings are equal."""
    first, second = map(Counter, zip(*pairs, strict=True))
    by_chance = sum(first[label] * second[label] for label in first) / len(pairs) ** 2
    return None if by_chance == 1 else (agreement(pairs) - by_chance) / (1 - by_chance)


def krippendorff_alpha(units: Units) -> float | None:
    """Of any number of reviewers, who may have left rows out; nominal (Krippendorff 2011, "Computing ...", section
    C)."""
    every = [label for unit in units for label in unit]
    observed = sum((math.comb(len(unit), 2) - _equal_pairs(unit)) / (len(unit) - 1) for unit in units)
    by_chance = math.comb(len(every), 2) - _equal_pairs(every)
    return None if by_chance == 0 else 1 - (len(every) - 1) * observed / by_chance
