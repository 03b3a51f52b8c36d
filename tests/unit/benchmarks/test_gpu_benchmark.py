"""The parts of the GPU benchmark that need no GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from shared.domain.catalog import find_entry


@pytest.mark.ci
def test_without_a_cuda_device_nothing_is_measured_and_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert gpu.main(["--json", str(tmp_path / "figures.json")]) == gpu.NO_DEVICE == 3
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "figures.json").exists()


def test_six_cases_cover_both_lengths_mixed_rows_and_both_quantizations() -> None:
    every = gpu.cases()
    assert len(every) == 6
    assert {case.quantization for case in every} == {"nf4", "none"}
    assert {case.row_tokens for case in every} == {4096, 8192}
    mixed = next(case for case in every if case.mixed).lengths()
    assert max(mixed) <= 4096
    assert 0.1 < sum(mixed) / len(mixed) / 4096 < 0.3


def test_utilization_counts_four_operations_per_parameter_and_token() -> None:
    assert gpu.utilization(12_473, 8_030_261_248, "NVIDIA H100 80GB HBM3") == pytest.approx(0.405, abs=0.001)
    assert gpu.utilization(12_473, 8_030_261_248, "NVIDIA H100 PCIe") == pytest.approx(0.530, abs=0.001)
    for device in ("an unknown card", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"):
        assert gpu.utilization(1000, 8_030_261_248, device) is None


def test_recomputation_is_planned_only_where_memory_asks_for_it() -> None:
    case = gpu.cases(("none",))[1]
    roomy, predicted = gpu.planned(gpu.BASE, case, 200 * 10**9)
    tight, less = gpu.planned(gpu.BASE, case, 40 * 10**9)
    assert (roomy.hyperparameters.gradient_checkpointing, tight.hyperparameters.gradient_checkpointing) == (False, True)
    assert less < 40 * 10**9 < predicted


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["droptune", "trl defaults", "trl best"])
def test_every_trainer_measures_tokens_on_a_tiny_model(kind: str, tmp_path: Path) -> None:
    import torch

    from benchmarks.gpu_child import build, measure

    base = "droptune/tiny-llama"
    build(base, tmp_path / "model")
    torch.set_default_dtype(torch.float32)
    tiny: Any = replace(gpu.cases(("nf4",))[2], row_tokens=64, step_rows=8)
    found = measure(kind, base, tmp_path / "model", tiny)
    assert found["tokens_per_s"] > 0
    assert (found["peak_bytes"] is None) == (not torch.cuda.is_available())
    assert (found["predicted_bytes"] is None) == (kind != "droptune")
    assert find_entry(base).parameters > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_measurement_that_was_cut_goes_on_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each trainer in a process of its own, on the CPU; rows of a tiny shape."""
    import torch

    file, base = tmp_path / "figures.json", "droptune/tiny-llama"
    tiny = [replace(gpu.cases(("nf4",))[2], name="tiny", row_tokens=64, step_rows=8)]
    rows = gpu.measure_all(base, tiny, "a CPU", file)
    assert [row["kind"] for row in rows] == list(gpu.KINDS)
    assert rows[3] == {"case": "tiny", "kind": "unsloth", "failed": "not installed"}
    assert all(row["tokens_per_s"] > 0 for row in rows[:3])
    assert gpu.table("a CPU", rows).row_count == 4
    found = json.loads(file.read_text())
    assert found["rows"] == rows
    assert found["libraries"]["torch"] == torch.__version__
    file.write_text(json.dumps(found | {"rows": rows[:2]}))
    capsys.readouterr()
    again = gpu.measure_all(base, tiny, "a CPU", file)
    assert again[:2] == rows[:2]
    assert "2 measurements, 2 are there already" in capsys.readouterr().err
    assert gpu.measured_before(file, {"device": "another card"}) == {}


@pytest.mark.slow
def test_a_trainer_that_fails_says_why_and_keeps_none_of_the_others_from_being_measured(tmp_path: Path) -> None:
    tiny = [replace(gpu.cases(("nf4",))[2], name="tiny", row_tokens=64, step_rows=8, micro_rows=0)]
    rows = gpu.measure_all("droptune/tiny-llama", tiny, "a CPU", None)
    assert rows[0]["failed"] == "ZeroDivisionError: integer division or modulo by zero"
    assert all("failed" in row for row in rows)
