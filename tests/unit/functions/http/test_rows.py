"""The held-out rows of an evaluation, page by page."""

from __future__ import annotations

import orjson
import pytest
from fastapi.testclient import TestClient

from functions.http.rows import row_places
from shared.domain import paths
from shared.domain.evaluation import GradedRow
from shared.domain.run import Run
from shared.ports import Services
from shared.runner import Runner
from tests.unit.shared.support import drop


def evaluated(services: Services) -> Run:
    """Ten rows: 1 to 3 got worse, 4 and 5 better, the rest stayed."""
    run = drop(services, Runner(services))
    assert run is not None
    rows = [
        GradedRow(
            row=n,
            prompt=f"part {n}?",
            reference="a",
            scores={"base": 0.0, "champion": float(n <= 3), "candidate": float(n in (4, 5))},
            sub_scores={"candidate": {"exact": float(n in (4, 5))}},
            answers={"base": "b", "champion": "c", "candidate": "d"},
        )
        for n in range(1, 11)
    ]
    lines = b"".join(orjson.dumps(row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [lines])
    return run


def test_rows_come_in_pages_with_every_models_answer(client: TestClient, services: Services) -> None:
    path = f"/api/runs/{evaluated(services).id}/evaluation/rows"
    first = client.get(path, params={"limit": 6}).json()
    assert ([row["row"] for row in first["data"]], first["next"]) == ([1, 2, 3, 4, 5, 6], 6)
    assert first["data"][3]["answers"] == {"base": "b", "champion": "c", "candidate": "d"}
    assert first["data"][3]["sub_scores"] == {"candidate": {"exact": 1}}
    last = client.get(path, params={"limit": 6, "after": first["next"]}).json()
    assert ([row["row"] for row in last["data"]], last["next"]) == ([7, 8, 9, 10], None)


def test_rows_are_chosen_by_what_became_of_them_against_the_model_in_production(
    client: TestClient, services: Services
) -> None:
    path = f"/api/runs/{evaluated(services).id}/evaluation/rows"
    found = {change: client.get(path, params={"change": change}).json() for change in ("worse", "better", "same")}
    assert {change: [row["row"] for row in page["data"]] for change, page in found.items()} == {
        "worse": [1, 2, 3],
        "better": [4, 5],
        "same": [6, 7, 8, 9, 10],
    }
    assert found["worse"]["counts"] == {"worse": 3, "better": 2, "same": 5, "unscored": 0}
    assert client.get(path, params={"change": "other"}).status_code == 400


def test_a_row_outside_the_page_is_not_parsed_but_counted(client: TestClient, services: Services) -> None:
    run = evaluated(services)
    path = paths.run(run.id, "evaluation/rows.jsonl")
    lines = b"".join(services.blobs.read(path)).splitlines(keepends=True)
    broken = orjson.dumps({**orjson.loads(lines[6]), "answers": "not by model"}) + b"\n"
    services.blobs.write(path, [*lines[:6], broken, *lines[7:]])
    for after, expected in ((0, [1, 2, 3]), (3, [4, 5, 6]), (7, [8, 9, 10])):
        page = client.get(f"/api/runs/{run.id}/evaluation/rows", params={"limit": 3, "after": after}).json()
        assert [row["row"] for row in page["data"]] == expected
        assert page["counts"] == {"worse": 3, "better": 2, "same": 5, "unscored": 0}
    answer = client.get(f"/api/runs/{run.id}/evaluation/rows", params={"limit": 3, "after": 6})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unreadable_document")


def test_places_of_rows_are_found_once_for_each_version_of_the_file(client: TestClient, services: Services) -> None:
    run = evaluated(services)
    path = paths.run(run.id, "evaluation/rows.jsonl")
    before = row_places.cache_info().misses
    for after in (0, 3, 6):
        client.get(f"/api/runs/{run.id}/evaluation/rows", params={"limit": 3, "after": after})
    assert row_places.cache_info().misses == before + 1
    lines = b"".join(services.blobs.read(path)).splitlines(keepends=True)
    services.blobs.write(path, lines[:4])
    page = client.get(f"/api/runs/{run.id}/evaluation/rows").json()
    assert ([row["row"] for row in page["data"]], page["next"]) == ([1, 2, 3, 4], None)
    assert page["counts"] == {"worse": 3, "better": 1, "same": 0, "unscored": 0}


def test_a_file_without_rows_is_an_empty_page(client: TestClient, services: Services) -> None:
    run = evaluated(services)
    services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [b""])
    page = client.get(f"/api/runs/{run.id}/evaluation/rows").json()
    assert (page["data"], page["next"], set(page["counts"].values())) == ([], None, {0})


def test_a_run_without_an_evaluation_has_no_rows(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    answer = client.get(f"/api/runs/{run.id}/evaluation/rows")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_evaluation")
    assert client.get("/api/runs/run-none/evaluation/rows").status_code == 404


@pytest.mark.parametrize("score", ["null", "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("model", ["candidate", "champion"])
def test_a_row_with_a_score_that_is_no_number_is_unscored(
    client: TestClient, services: Services, score: str, model: str
) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    scores = {"base": "1.0", "champion": "1.0", "candidate": "1.0"} | {model: score}
    written = ", ".join(f'"{name}": {value}' for name, value in scores.items())
    line = f'{{"row": 1, "scores": {{{written}}}, "answers": {{}}, "sub_scores": {{"{model}": {{"exact": {score}}}}}}}'
    services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [line.encode()])
    answer = client.get(f"/api/runs/{run.id}/evaluation/rows", params={"change": "unscored"})
    assert answer.status_code == 200
    [row] = answer.json()["data"]
    assert (row["scores"][model], row["sub_scores"][model]["exact"]) == (None, None)
    assert answer.json()["counts"] == {"worse": 0, "better": 0, "same": 0, "unscored": 1}
