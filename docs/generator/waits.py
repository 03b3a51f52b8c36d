"""`deadlines-and-retries.md`: how long things may take, what is tried again and when."""

from datetime import timedelta

from docs.generator import markdown
from shared import runner
from shared.clients import targets
from shared.domain import jobs
from shared.domain.errors import RETRY_RULES, FailureClass
from shared.domain.planning import methods
from shared.domain.run import NON_TERMINAL, Status
from shared.pipeline import DEADLINES, QUEUE_ALLOWANCE
from shared.records import outbox, subscriptions, ticks
from shared.settings import Settings
from shared.steps import (
    advance_rollout,
    notify,
    probe_deployments,
    receive_dataset,
    reconcile,
    roll_back,
)
from shared.steps.fail_run import RETRY_OF_JOB, RETRY_OF_STAGE
from training_job.evaluation import general

RETRY_WAIT_S = float(Settings.model_fields["retry_wait_s"].default)


def page() -> str:
    return markdown.page(
        "deadlines-and-retries.md",
        statuses=[status for status in Status if status in NON_TERMINAL],
        deadlines=DEADLINES,
        queue_allowance=QUEUE_ALLOWANCE,
        classes=[_rule(name) for name in FailureClass],
        stages=(*RETRY_OF_STAGE, *RETRY_OF_JOB),
        retry_wait_s=RETRY_WAIT_S,
        delivery=notify,
        log_s=subscriptions.DELIVERY_TTL_S,
        disabled_after=notify.DISABLED_AFTER,
        runner=runner,
        targets=targets,
        outbox=outbox,
        probe=probe_deployments,
        rollout=advance_rollout,
        rollback_allowance=roll_back.ALLOWANCE,
        receive=receive_dataset,
        RETRY_RULES=RETRY_RULES,
        reconcile=reconcile,
        longest_regular=ticks.LONGEST_REGULAR,
        served_tokens=methods.MIN_SERVED_TOKENS,
        jobs=jobs,
        suite_tokens=general.MAX_NEW_TOKENS,
        time=time,
        numbers=numbers,
    )


def _rule(name: FailureClass) -> tuple[str, str, str]:
    rule = RETRY_RULES[name]
    if rule.lasts:
        first, longest, lasts = (
            time(units * RETRY_WAIT_S) for units in (rule.first_wait, rule.longest_wait, rule.lasts)
        )
        return f"`{name}`", f"for {lasts}", f"{first}, then as long as it was waited for, at most {longest}"
    waits = [rule.first_wait * 2**number * RETRY_WAIT_S / 60 for number in range(rule.attempts - 1)]
    return f"`{name}`", str(rule.attempts), f"{numbers(*waits)} min" if waits else "not tried again"


def numbers(*values: float) -> str:
    """`1, 2.5`"""
    return ", ".join(f"{value:g}" for value in values)


def time(span: timedelta | float) -> str:
    """`2 days`, of a span or of seconds."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length * (2 if unit == "days" else 1) and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
