"""Checkpoints damaged at random: the run ends with the model of an undamaged one, or says why not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRIALS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 3 else []) for seed in range(200)]
STEPS = 8


@pytest.fixture(scope="module")
def moments(bench: Callable[..., Any], resolved: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """One run, as a kill after each of its checkpoints would leave it; the last is the finished run."""
    from training_job.job import checkpoints

    folder = tmp_path_factory.mktemp("moments")
    run = bench(folder, recipe=resolved(total_steps=STEPS, n_epochs=1, quantization="none"))
    found: dict[int, Any] = {}
    mark = checkpoints.mark_complete

    def keep(checkpoint: Path, *facts: Any) -> None:
        mark(checkpoint, *facts)
        found[checkpoints.step_of(checkpoint)] = shutil.copytree(run.output, folder / f"after-{checkpoint.name}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "mark_complete", keep)
        assert run.train() == 0
    assert list(found) == list(range(1, STEPS + 1))
    return found | {0: run}


def damage(chance: random.Random, checkpoint: Path, older: Path) -> None:
    """Truncate, zero, delete, swap or put back some files, or all of them."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    for path in chance.sample(files, chance.choice([1, 1, 1, 2, len(files)])):
        content = path.read_bytes() if path.exists() else b""
        match chance.choice(["truncate", "zero", "delete", "swap", "older"]):
            case "truncate":
                path.write_bytes(content[: chance.randrange(len(content) + 1)])
            case "zero":
                start = chance.randrange(len(content) + 1)
                path.write_bytes(content[:start] + bytes(len(content) - start))
            case "delete":
                path.unlink(missing_ok=True)
            case "swap":
                other = chance.choice(files)
                if other.exists():
                    path.write_bytes(other.read_bytes())
                    other.write_bytes(content)
            case "older":
                if (older / path.name).exists():
                    shutil.copy(older / path.name, path)


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("seed", TRIALS)
def test_a_run_with_damaged_checkpoints_ends_with_the_same_model_or_says_why_not(
    seed: int, moments: dict[int, Any], tmp_path: Path
) -> None:
    chance, straight = random.Random(seed), moments[0]
    step = chance.randrange(1, STEPS + 1)
    run = type(straight)(tmp_path, straight.base, straight.data, straight.recipe.read_text())
    shutil.copytree(moments[step], run.output)
    for checkpoint in sorted((run.output / "checkpoints").iterdir())[-chance.choice([1, 1, 2]) :]:
        older = moments[max(1, step - 3)] / "checkpoints" / f"checkpoint-{max(1, step - 3)}"
        damage(chance, checkpoint, older)
    code, result = run.train(), run.result()
    if code:
        assert result.problem.code in ("loss_differs", "saved_differs")
        assert not (run.output / "model" / "manifest.json").exists()
        return
    mine, expected = run.adapter(), straight.adapter()
    assert all((mine[name] == expected[name]).all() for name in expected)
    assert (result.metrics.best_step, result.metrics.eval_loss) == (
        straight.result().metrics.best_step,
        straight.result().metrics.eval_loss,
    )
