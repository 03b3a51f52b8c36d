"""Each ready recipe through the demo, from builds of the tiny base of five seeds and with other kernels of the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_stack.demo.prepare import drops
from local_stack.processes import marked
from local_stack.tiny_base.shipped import WEIGHTS, read_manifest, sources_sha256
from tests.paths import ROOT
from tests.unit.recipes.ready import RECIPES, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(3600)]

SHIPPED = 7
SEEDS = (SHIPPED, 8, 9, 10, 11)
# By the names of the results: those of an old processor add in another order, and so round otherwise.
KERNELS = {
    "own": {},
    "old": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}

Result = dict[str, Any]
Demo = Callable[[str, int, str], Result]


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, text=True, capture_output=True)


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The tiny base by seed: those that are not shipped are built, and kept where `TINY_BASES` names a folder."""
    folder = Path(os.environ.get("TINY_BASES") or tmp_path_factory.mktemp("bases"))

    def base(seed: int) -> Path:
        found = WEIGHTS if seed == SHIPPED else folder / str(seed)
        if not found.exists():
            built = run("local_stack.tiny_base.build", "--output", str(found), "--seed", str(seed))
            assert built.returncode == 0, built.stderr
        assert read_manifest(found)["sources"] == sources_sha256()
        return found

    return base


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, base_of: Callable[[int], Path]) -> Demo:
    """What a recipe reaches, by its name, the seed of the base and the kernels; once each.

    Each is also a file in the folder that `RECIPE_RESULTS` names, and is not repeated while the file is there;
    `tests.stack.recipe_results` makes tables of them.
    """
    results = Path(os.environ.get("RECIPE_RESULTS") or tmp_path_factory.mktemp("results"))

    def result(name: str, seed: int, kernels: str) -> Result:
        if (file := results / f"{name}-{seed}-{kernels}.json").exists():
            return dict(json.loads(file.read_text()))
        root = tmp_path_factory.mktemp("demo") / "demo"
        options = ("--recipe", name, "--root", str(root), "--base", str(base_of(seed)), "--port", "0")
        ended = run("local_stack.demo", *options, **KERNELS[kernels])
        found = json.loads((root / "report.json").read_text()) if (root / "report.json").exists() else None
        run("local_stack.stack", "down", "--root", str(root))
        assert found, ended.stdout[-4000:] + ended.stderr
        assert marked(root) == []
        result = {
            "recipe": name,
            "seed": seed,
            "kernels": kernels,
            "answers": ended.returncode == 0,
            "drops": [figures(root, each) for each in (*found["earlier"], found)],
            "seconds": round(found["seconds"]["total"]),
            "commit": commit(),
            "load": round(os.getloadavg()[1], 1),
        }
        shutil.rmtree(root)
        file.write_text(json.dumps(result))
        return result

    return result


def commit() -> str:
    shown = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=ROOT, text=True, capture_output=True)
    return shown.stdout.strip()


def figures(root: Path, run: Result) -> Result:
    """Mean and 95 % interval of each score and gain, and the last loss with all its digits."""
    points = map(json.loads, (root / "blobs" / "runs" / run["run"] / "metrics.jsonl").read_text().splitlines())
    shown = {name: interval(run["scores"][name]) for name in ("base", "tuned")}
    gains = {gain["over"]: interval(gain) for gain in run["gains"]}
    loss = [point["loss"] for point in points if "loss" in point][-1]
    return {"method": run["method"], "status": run["status"], **shown, "gains": gains, "loss": loss}


def interval(found: Result | None) -> list[float]:
    return [round(found[name], 3) for name in ("mean", "low", "high")] if found else []


def check(result: Result) -> None:
    found = result["drops"]
    assert [each["status"] for each in found] == ["deployed"] * len(drops(RECIPES / result["recipe"]))
    assert [set(each["gains"]) for each in found] == [{"base"}] + [{"base", "champion"}] * (len(found) - 1)
    assert all(low > 0 for each in found for _, low, _ in each["gains"].values())
    assert result["answers"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_drop_of_a_recipe_ends_deployed_and_better_beyond_its_interval(demo: Demo, name: str, seed: int) -> None:
    check(demo(name, seed, "own"))


@pytest.mark.parametrize("name", SMALL)
def test_with_kernels_that_round_otherwise_it_does_too(demo: Demo, name: str) -> None:
    check(other := demo(name, SHIPPED, "old"))
    own = demo(name, SHIPPED, "own")
    assert all(old["loss"] != new["loss"] for old, new in zip(other["drops"], own["drops"], strict=True))
