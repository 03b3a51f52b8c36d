"""`events.md`: functions, what wakes them, and the events with the types of their data."""

from collections.abc import Sequence

from docs.generator import markdown
from docs.generator.schema import type_of
from shared.domain.events import EVENT_TYPES, EventData
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS
from shared.domain.run import NON_TERMINAL, Status
from shared.pipeline import STAGES, Stage


def page() -> str:
    return markdown.page(
        "events.md",
        functions=[(f"`{s.name}`", s.description, _woken(s), _moves(s), _facts(s.publishes)) for s in STAGES],
        elsewhere=_facts(tuple(cls for cls in EVENT_TYPES.values() if not any(cls in s.publishes for s in STAGES))),
        events=[_event(cls) for cls in EVENT_TYPES.values()],
    )


def _event(cls: type[EventData]) -> tuple[str, str, str, str, str]:
    sent = "yes" if cls.short_type() in DEFAULT_NOTIFY_EVENTS else ""
    meaning = markdown.first_line(cls.__dict__.get("__doc__"))
    if not meaning:
        raise ValueError(f"{cls.__name__} has no docstring")
    return f"`{cls.wire_type}`", cls.severity.value, sent, meaning, _data(cls)


def _data(cls: type[EventData]) -> str:
    schema = cls.model_json_schema()
    own = schema["properties"]
    return ", ".join(f"`{name}` ({type_of(found, schema.get('$defs', {}))})" for name, found in own.items())


def _woken(stage: Stage) -> str:
    if stage.queue:
        return f"queue `{stage.queue}`"
    if stage.timer:
        return f"timer `{stage.timer}`"
    return "every event" if stage.name == "notify" else _facts(stage.wakes)


def _moves(stage: Stage) -> str:
    """A line for each status after; statuses that stay the same share one."""
    lines = []
    for after in Status:
        befores = [before for before, to in stage.moves if to is after and before is not after]
        if befores:
            lines.append(f"{_statuses(befores)} → `{after}`")
    if same := [before for before, after in stage.moves if before is after]:
        lines.append(f"{_statuses(same)} → the same")
    return "<br>".join(lines)


def _statuses(statuses: Sequence[Status | None]) -> str:
    if None in statuses:
        return "no run"
    if set(statuses) == NON_TERMINAL:
        return "any non-terminal"
    return markdown.listed(s for s in Status if s in statuses)


def _facts(classes: tuple[type[EventData], ...]) -> str:
    return markdown.listed(cls.short_type() for cls in classes)
