"""No table and no panel of the command line cuts a run id."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from cli.client import Api
from cli.common import make_grid, make_table
from cli.endpoints import endpoints_table
from cli.follow import Update
from cli.view import decision_view, live, runs_table, score_table, verdict_view
from shared.api.models import EndpointList
from shared.domain.endpoint import EndpointRecord
from shared.domain.evaluation import Score
from shared.domain.run import Status
from tests.unit.cli.fake_api import RESULT, START, make_run

RUN_ID = "run-0123456789ab"
OTHER = "run-ba9876543210"
LONG = "a-project-with-a-name-of-the-greatest-length-that-is-allowed-here"
SCORE = Score(mean=0.5, low=0.4, high=0.6, rows=120)
WITH_CHAMPION = RESULT.model_copy(update={"champion": SCORE})
ENDPOINT = EndpointRecord(
    endpoint=LONG,
    project=LONG,
    champion=RUN_ID,
    deployment=f"d-{LONG}",
    model="shop:2",
    scoring_uri="http://127.0.0.1:1/",
    promoted_at=START,
)
WAITING = make_run(
    Status.AWAITING_APPROVAL, id=RUN_ID, project=LONG, evaluation=WITH_CHAMPION, champion=OTHER, deadline_at=START
)
REJECTED = make_run(Status.RECEIVED, Status.REJECTED, id=RUN_ID, project=LONG)
DUPLICATE = make_run(Status.RECEIVED, Status.DUPLICATE, id=RUN_ID, project=LONG, duplicate_of=OTHER)

VIEWS: dict[str, tuple[Callable[[], RenderableType], tuple[str, ...]]] = {
    "runs": (lambda: runs_table([WAITING, REJECTED]), (RUN_ID,)),
    "endpoints": (lambda: endpoints_table(EndpointList(data=(ENDPOINT,))), (RUN_ID,)),
    "scores": (lambda: score_table(WAITING, WITH_CHAMPION), (OTHER,)),
    "live": (lambda: live(Update(WAITING)), (RUN_ID,)),
    "decision": (lambda: decision_view(WAITING), (RUN_ID, OTHER)),
    "rejected": (lambda: verdict_view(Api("http://127.0.0.1:1"), REJECTED), (RUN_ID,)),
    "duplicate": (lambda: verdict_view(Api("http://127.0.0.1:1"), DUPLICATE), (OTHER,)),
}


def rendered(view: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", VIEWS)
def test_run_ids_are_whole_at_every_width(name: str, width: int) -> None:
    view, ids = VIEWS[name]
    shown = rendered(view(), width)
    assert all(id in shown for id in ids), shown
    assert "…" not in shown


@pytest.mark.parametrize("table", [make_table("text", "more", whole=("text",)), make_grid(2, whole=(0,))])
def test_a_word_that_is_too_long_goes_on_in_the_next_line(table: object) -> None:
    table.add_row("whole", "z" * 100)  # type: ignore[attr-defined]
    assert rendered(table, 40).count("z") == 100  # type: ignore[arg-type]
