"""The pipeline as `pipeline.toml` has it: which event wakes which function, what it may do to a run and publish."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from itertools import chain
from typing import Any, cast

from shared.domain import events as e
from shared.domain.beside import read_beside
from shared.domain.run import NON_TERMINAL, Run, Status
from shared.domain.topology import TOPIC, TopicSubscription, Topology
from shared.ports import Services
from shared.step_support.outcome import Outcome, Step

# None before: no run yet.
Move = tuple[Status | None, Status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One function. `step` is None where no single run is moved: those functions call their step themselves.

    `first` has a batch of its own, before that of `step`, and `part` tells the two apart.
    """

    name: str
    description: str
    wakes: tuple[type[e.EventData], ...] = ()
    queue: str | None = None
    timer: str | None = None
    moves: frozenset[Move] = frozenset()
    publishes: tuple[type[e.EventData], ...] = ()
    step: Step | None = None
    first: Step | None = None
    part: str = ""

    @property
    def before(self) -> frozenset[Status]:
        """Statuses of a run it may move."""
        return frozenset(before for before, _ in self.moves if before is not None)


_EVENTS = {cls.short_type(): cls for cls in e.EVENT_TYPES.values()}
_BEFORE: dict[str, Iterable[Status | None]] = {"none": (None,), "unfinished": NON_TERMINAL}


def _moves(line: str) -> Iterator[Move]:
    befores, afters = (half.split(", ") for half in line.split(" -> "))
    for before in chain.from_iterable(_BEFORE.get(name) or (Status(name),) for name in befores):
        for after in afters:
            yield before, before if before and after == "same" else Status(after)


def _step(module: str, name: str) -> Step:
    """A step of a module, imported at its first use: an instance in Azure runs one function, and loads one step."""

    def step(event: Any, run: Run, services: Services) -> Outcome | None:
        return cast(Step, getattr(import_module(f"shared.steps.{module}"), name))(event, run, services)

    return step


def stage_of(name: str, row: dict[str, Any]) -> Stage:
    """Raises KeyError, ValueError or TypeError for a row that names what is not there."""
    wakes, publishes = (row.get(key, ()) for key in ("wakes", "publishes"))
    facts = {
        "wakes": tuple(_EVENTS[event] for event in (_EVENTS if wakes == "every" else wakes)),
        "moves": frozenset(move for line in row.get("moves", ()) for move in _moves(line)),
        "publishes": tuple(_EVENTS[event] for event in publishes),
        "first": _step(name, row["first"]) if "first" in row else None,
        "step": _step(row.get("module", name), name) if wakes else None,
    }
    return Stage(name=name, **{key: value for key, value in (row | facts).items() if key != "module"})


STAGES = tuple(stage_of(name, row) for name, row in read_beside(__file__).items())

BY_NAME = {stage.name: stage for stage in STAGES}

# Facts that a timer or the next look at a job states again while they hold. What is asked for is asked for once.
RESTATED = tuple(fact for stage in STAGES if not stage.moves for fact in stage.publishes if not fact.about_any_revision)

TOPOLOGY = Topology(
    queues=tuple(stage.queue for stage in STAGES if stage.queue),
    topics={
        TOPIC: tuple(
            TopicSubscription(
                stage.name, None if stage.name == "notify" else frozenset(cls.wire_type for cls in stage.wakes)
            )
            for stage in STAGES
            if stage.wakes
        )
    },
)

# Every non-terminal status ends by itself: in a move, or here. Two are set by the recipe: see `deadline`.
DEADLINES = {
    Status.RECEIVED: timedelta(hours=1),
    Status.VALIDATING: timedelta(hours=12),
    Status.VALIDATED: timedelta(hours=24),
    # As long as the candidates before it may take.
    Status.TRAINED: timedelta(days=14),
    Status.EVALUATING: timedelta(hours=36),
    Status.APPROVED: timedelta(hours=24),
    Status.DEPLOYING: timedelta(hours=2),
    Status.ROLLING_BACK: timedelta(hours=2),
    Status.CANCELLING: timedelta(hours=1),
}
# A spot job may wait for capacity this long before its own time limit starts to run.
QUEUE_ALLOWANCE = timedelta(hours=24)


def deadline(run: Run, status: Status) -> timedelta:
    """How long a run may stay in a non-terminal status."""
    if status is Status.TRAINING:
        return timedelta(hours=run.resolved.requested.budget.deadline_hours) + QUEUE_ALLOWANCE
    if status is Status.AWAITING_APPROVAL:
        return timedelta(hours=run.resolved.requested.deployment.approval_hours)
    return DEADLINES[status]
