"""The benchmarks run and say what they measured; how fast anything is, is not asserted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import (
    cold_start,
    content,
    history,
    history_host,
    large_vocabulary,
    latency,
    rendering,
    service_bus,
    stores,
    training,
    transitions,
    validation,
    validation_large,
)
from benchmarks.azure_worker.environments import find_python
from benchmarks.measure import Figure, percentile
from tests.emulator_servers import cosmos_url


def assert_whole(rows: list[Figure]) -> None:
    assert rows
    for row in rows:
        assert row.name
        assert row.unit
        assert row.better in ("higher", "lower")
        assert row.value > 0
        assert row.baseline
        assert row.baseline_value is not None
        assert row.ratio == row.value / row.baseline_value


def test_transitions_are_measured_beside_glue_by_hand() -> None:
    rows = transitions.run(runs=5)
    assert_whole(rows)
    assert [row.unit for row in rows] == ["1/s", "ms", "ms"]


def test_a_batch_is_measured_on_both_stores() -> None:
    cosmos_url()  # skips the test where the server cannot be had
    rows = stores.run(batches=5)
    assert_whole(rows)
    assert [row.name for row in rows] == ["batch, p50", "batch, p99"]


def test_the_cost_of_history_is_measured_beside_a_short_one() -> None:
    rows = history.run(finished=(0, 2, 20), repeats=3)
    assert Counter(row.name.split(", ")[-1] for row in rows) == {"0 finished": 5, "2 finished": 5, "20 finished": 5}
    assert_whole([row for row in rows if row.name.endswith("20 finished")])


@pytest.mark.slow
def test_an_idle_host_is_measured_beside_how_many_runs_finished() -> None:
    rows = history_host.run(finished=(0, 250), settle_s=0, idle_s=2, requests=2, polls=1)
    assert Counter(row.name.split(", ")[-1] for row in rows) == {"0 finished": 16, "250 finished": 16}
    assert_whole([row for row in rows if row.name.endswith("250 finished")])


@pytest.mark.slow
def test_training_is_measured_beside_trl_on_the_same_objective() -> None:
    rows = training.run(rows=48, mixed_rows=48, seeds=(1,))
    assert_whole(rows)
    assert Counter(row.baseline for row in rows) == dict.fromkeys(training.TRL, 6)
    assert {row.name.split(", ")[-1] for row in rows} == {"useful tokens", "peak memory", "held-out loss"}


@pytest.mark.slow
def test_a_cold_start_is_measured_beside_an_empty_app() -> None:
    cosmos_url()  # skips the test where the server cannot be had
    if find_python(cold_start.PYTHON) is None:
        pytest.skip(f"Python {cold_start.PYTHON} is not on this machine")
    rows = cold_start.run(starts=1)
    assert_whole(rows)
    assert [row.unit for row in rows] == ["s", "s of processor time", "MB, peak"] * 5


@pytest.mark.slow
def test_latency_is_measured_in_one_process_and_across_two() -> None:
    rows = latency.run(messages=3)
    assert_whole(rows)
    assert Counter(row.name.split(", ")[1] for row in rows) == {"one process": 4, "two processes": 2}


@pytest.mark.slow
def test_service_bus_is_measured_beside_the_embedded_bus() -> None:
    rows = service_bus.run(messages=5, events=4)
    assert_whole(rows)
    assert [row.unit for row in rows] == ["1/s", "1/s", "1/s", "ms", "ms"]


@pytest.mark.slow
def test_rendering_is_measured_beside_the_bare_tokenizer() -> None:
    rows = rendering.run(size_mb=0.1, memory_mb=(0.1,))
    assert_whole(rows[:-1])
    assert {row.baseline for row in rows[:-1]} == {rendering.BARE}
    assert (rows[-1].unit, rows[-1].value > 0) == ("MB", True)


@pytest.mark.slow
def test_validation_is_measured_beside_a_parser_and_a_checker() -> None:
    rows = validation.run(rows=20, large_mb=0.1, memory_mb=(0.1,))
    assert_whole(rows)
    assert {row.baseline for row in rows} == {validation.PARSER, validation.PLAIN_CHECKER, validation.CHECKER}


def test_large_validation_is_measured_alone() -> None:
    assert [row.unit for row in validation_large.run(rows=20, memory_mb=0.1)] == ["s", "MB"]


@pytest.mark.slow
def test_a_large_vocabulary_is_measured_in_a_process_of_its_own() -> None:
    rows = large_vocabulary.run(vocabulary=400, rows=20, words=200)
    assert [row.unit for row in rows] == ["s", "s", "MB", "MB"]
    assert rows[0].name == "vocabulary of 400, load"
    assert 0 < rows[2].value < rows[3].value


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("text", "data_type"),
        ({"messages": []}, "missing_messages_list"),
        ({"messages": [{"role": "assistant"}]}, "message_missing_key"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "unrecognized_role"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "missing_content"),
        ({"messages": [{"role": "user", "content": "a"}]}, "example_missing_assistant_message"),
    ],
)
def test_the_checker_beside_ours_finds_what_the_cookbook_names(row: object, code: str) -> None:
    assert validation.cookbook_problems([row])[code] == 1


def test_the_content_scan_is_measured_by_kind_of_row_and_by_part() -> None:
    rows = content.run(rows=9)
    assert len([row for row in rows if row.name.startswith("content scan")]) == 4
    assert all(row.value > 0 for row in rows)


def test_generated_rows_have_nothing_wrong(tmp_path: Path) -> None:
    validation.write_chat(tmp_path / "chat.jsonl", rows=50)
    lines = (tmp_path / "chat.jsonl").read_text().splitlines()
    assert len(lines) == 50
    assert not validation.cookbook_problems([json.loads(line) for line in lines])


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: int, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_the_file_says_when_where_and_how(tmp_path: Path) -> None:
    alone = Figure("alone", 2.0, "s", "lower")
    beside = Figure("beside", 1.0, "s", "lower", "other", 3.0)
    file = tmp_path / "results" / "here.json"
    arguments = ["transitions", "--json", str(file)]
    command.write_results(file, {"transitions": {"rows": [row.document() for row in (alone, beside)]}}, arguments)
    body = json.loads(file.read_text())
    assert body["date"]
    assert body["command"].startswith("python -m benchmarks transitions --json")
    assert {"cpu", "cores", "python"} <= body["machine"].keys()
    rows = body["benchmarks"]["transitions"]["rows"]
    assert [row["ratio"] for row in rows] == [None, 0.3333]


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["speed"])
    assert refused.value.code == 2
    assert "speed" in capsys.readouterr().err
