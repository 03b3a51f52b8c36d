"""`deadlines-and-retries.md`: how long things may take, what is tried again and when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from docs.generator import markdown
from shared.clients import webhook
from shared.domain.errors import RETRY_RULES, FailureClass
from shared.domain.run import NON_TERMINAL, Status
from shared.pipeline import DEADLINES, QUEUE_ALLOWANCE
from shared.records.outbox import INBOX_TTL_S, SENT_TTL_S
from shared.runner import EARLY_WAITS_S, FIRST_RETRY_S, LONGEST_RETRY_S
from shared.settings import Settings
from shared.step_support.attempts import RETRY_OF_JOB, RETRY_OF_STAGE
from shared.steps import advance_rollout, deliver_notification, deploy_model, probe_deployments, reconcile
from training_job.evaluation import general

FROM_RECIPE = {
    Status.TRAINING: f"`budget.deadline_hours`, and {QUEUE_ALLOWANCE.total_seconds() / 3600:g} h to wait for a machine",
    Status.AWAITING_APPROVAL: "`deployment.approval_hours`; after it the model is declined",
}

DEADLINES_TEXT = """\
Every status that is not an end has a deadline. A run that passes it ends `failed` with code `overdue`, class
`platform`, and is not tried again. `droptune retry RUN` starts another run."""

RETRIES_TEXT = """\
A failed stage is tried again if its class allows it. The attempts of a stage are counted together, whatever the class
of each failure was. These functions and jobs can be tried again: {stages}. A deployment that was accepted and then
failed is rolled back, not tried again. A job that a person cancels in the studio counts as a failure of class
`platform` and is submitted again: use `droptune cancel`. A run that is `overdue` is not tried again."""

STEPS_TEXT = """\
An error that may pass (a service that is busy or unreachable) does not fail the stage. The event is scheduled again
after {first} s; the wait doubles up to {longest} s until the status's deadline. An event that comes before
its run was written is looked at again after {early} s."""

WEBHOOKS_TEXT = """\
A delivery has {tries} tries in {hours} h: the first at once, then after {waits}. Each try
has {timeout} s. The answers {gone} mean that the receiver does not want the message: it is dropped at
the first such answer. Redirects are not followed. A delivery that was given up is written to the log only.
[Connect a webhook](../how-to/connect-a-webhook.md) shows a receiver."""


def page() -> str:
    return markdown.page(
        "Deadlines and retries",
        "the constants of `shared/pipeline.py`, `shared/domain/errors.py`, `shared/runner.py` and the steps",
        "## Deadlines",
        DEADLINES_TEXT,
        markdown.table(("status", "deadline"), [(f"`{s}`", _deadline(s)) for s in Status if s in NON_TERMINAL]),
        "## Tries of a stage",
        RETRIES_TEXT.format(stages=markdown.listed((*RETRY_OF_STAGE, *RETRY_OF_JOB))),
        markdown.table(("class", "tries", "waits between them"), [_rule(name) for name in FailureClass]),
        f"The waits are in units of `RETRY_WAIT_S` ({_base():g} s by default).",
        "## Errors that may pass",
        STEPS_TEXT.format(first=f"{FIRST_RETRY_S:g}", longest=f"{LONGEST_RETRY_S:g}", early=_sequence(EARLY_WAITS_S)),
        "## Webhooks",
        _webhooks(),
        "## Rollout",
        markdown.table(("what", "value"), _rollout()),
        "## What is kept how long",
        markdown.table(("what", "kept"), _kept()),
    )


def _deadline(status: Status) -> str:
    return FROM_RECIPE.get(status) or _time(DEADLINES[status])


def _base() -> float:
    return float(Settings.model_fields["retry_wait_s"].default)


def _rule(name: FailureClass) -> tuple[str, str, str]:
    rule = RETRY_RULES[name]
    waits = [rule.first_wait * 2**number * _base() / 60 for number in range(rule.attempts - 1)]
    return f"`{name}`", str(rule.attempts), f"{_sequence(waits)} min" if waits else "not tried again"


def _sequence(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _webhooks() -> str:
    waits = deliver_notification.WAITS_S
    return WEBHOOKS_TEXT.format(
        tries=len(waits) + 1,
        hours=f"{sum(waits) / 3600:.1f}",
        waits=", ".join(_time(timedelta(seconds=wait)) for wait in waits),
        timeout=f"{webhook.TIMEOUT_S:g}",
        gone=_sequence(sorted(webhook.GONE)),
    )


def _rollout() -> list[tuple[str, str]]:
    return [
        (
            "held-out questions per probe",
            f"{probe_deployments.QUESTIONS}: the first on which candidate and base differ",
        ),
        ("answers that must equal those of the evaluation", f"{advance_rollout.MIN_AS_EVALUATED:.0%}"),
        (
            "too slow",
            f"{advance_rollout.MAX_SLOWDOWN:g} times the previous model's median and {advance_rollout.NOTICEABLE_S:g} "
            "s more, in two probes in a row",
        ),
        (
            "no answer",
            f"{_time(advance_rollout.UNREACHABLE_ALLOWANCE)}; "
            f"{_time(advance_rollout.UNREACHABLE_WITH_TRAFFIC_ALLOWANCE)} while it has traffic",
        ),
        ("one answer to a probe", "30 s, whatever its length"),
        ("time between two steps of the traffic", "none of its own: the next probe (`PROBE_SCHEDULE`)"),
        ("first model at an endpoint", "gets 100 % of the traffic at once"),
        ("context that is served", f"at most {deploy_model.MAX_SERVED_TOKENS:,} tokens"),
        ("answers to the general suite", f"cut at {general.MAX_NEW_TOKENS} tokens"),
    ]


def _kept() -> list[tuple[str, str]]:
    return [
        ("events of a run (`/events`)", _time(timedelta(seconds=SENT_TTL_S))),
        ("marks of handled events", _time(timedelta(seconds=INBOX_TTL_S))),
        ("a claim without a run", _time(reconcile.OWNERLESS_CLAIM_AGE)),
        ("the previous deployment", "`deployment.keep_previous_hours`"),
        ("blobs, runs, curated versions, models, answers of evaluations", "for ever: nothing deletes them"),
    ]


def _time(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length * (2 if unit == "days" else 1) and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
