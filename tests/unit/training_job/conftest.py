from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.judge_server import JudgeServer
from tests.paths import ROOT
from tests.unit.training_job.rows import pair, prompt
from training_job.job.runtime import work_offline

# Read by libraries when they are imported, so set before any test does.
work_offline()
os.environ["OMP_NUM_THREADS"] = "1"

THIRD_PARTY = (
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:builtin type (swigvarlink|SwigPyPacked|SwigPyObject) has no:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/unit/training_job/"):
            for warning in THIRD_PARTY:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def libraries() -> None:
    """Import what training imports, as a job does: many tests call the parts of a job and not the job."""
    from training_job.job.processes import importing

    with importing():
        import training_job.methods.supervised
        import training_job.methods.watch  # noqa: F401


@pytest.fixture(scope="session")
def endless_base(libraries: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with random weights: right in every shape, wrong in every answer, which it does not end."""
    from local_stack.tiny_base.build import build_random_base

    folder = tmp_path_factory.mktemp("base") / "endless"
    build_random_base(folder)
    return folder


@pytest.fixture(scope="session")
def random_base(endless_base: Path) -> Path:
    """The same, but every second token ends an answer.

    Otherwise half the time of each run goes into the longest answers that the check of its merge takes.
    """
    from transformers import GenerationConfig

    folder = endless_base.with_name("random")
    shutil.copytree(endless_base, folder)
    settings = GenerationConfig.from_pretrained(folder)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    settings.eos_token_id = [settings.eos_token_id, *range(1, vocabulary, 2)]
    settings.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(random_base: Path) -> Any:
    from training_job.model.quantized import load_tokenizer

    return load_tokenizer(random_base)


@pytest.fixture(scope="session")
def bundle(tokenizer: Any) -> Any:
    from training_job.data.chat_rows import bundle_of

    return bundle_of(tokenizer)


def chat(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "item": fields}


@pytest.fixture(scope="session")
def some_rows() -> list[dict[str, Any]]:
    """Short rows in two slices: 8 of them select, 40 are trained on."""
    return [chat(f"What is part {n}?", f"a bolt of {n} mm", kind="odd" if n % 2 else "even") for n in range(48)]


WriteData = Callable[..., Path]


@pytest.fixture(scope="session")
def write_data() -> WriteData:
    """Write a curated version: train, eval and manifest."""

    def write(folder: Path, train: list[Any], held_out: list[Any], **manifest: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", train), ("eval", held_out)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        (folder / "manifest.json").write_text(json.dumps({"version": "data-1", **manifest}))
        return folder

    return write


@pytest.fixture(scope="session")
def resolved() -> Callable[..., Any]:
    """A resolved recipe for the tiny base; hyperparameters by keyword, parts of the recipe as `recipe`."""
    from shared.domain.recipe import (
        Recipe,
        ResolvedHyperparameters,
        ResolvedPreference,
        ResolvedRecipe,
        ResolvedReinforcement,
    )

    of_method: dict[str, tuple[type[ResolvedHyperparameters], dict[str, Any]]] = {
        "supervised": (ResolvedHyperparameters, {}),
        "dpo": (ResolvedPreference, {"beta": 0.1}),
        "reinforcement": (
            ResolvedReinforcement,
            {
                "rollouts_per_prompt": 4,
                "micro_batch_size": 16,
                "generation_batch_size": 16,
                "max_new_tokens": 8,
                "temperature": 1.0,
                "beta": 0.0,
            },
        ),
    }

    def make(
        recipe: dict[str, Any] | None = None, *, continued_from: str | None = None, **hyperparameters: Any
    ) -> ResolvedRecipe:
        found = Recipe.model_validate({"base_model": "droptune/tiny-llama", **(recipe or {})})
        kind, settings = of_method[found.method.type]
        values: dict[str, Any] = {
            "n_epochs": 2,
            "batch_size": 4,
            "micro_batch_size": 4,
            "learning_rate": 0.003,
            "lora_rank": 4,
            "lora_alpha": 8,
            "max_length_tokens": 256,
            "total_steps": 20,
            "gradient_checkpointing": False,
            "compute_dtype": "float32",
            "seed": 42,
        }
        return ResolvedRecipe(
            requested=found,
            project="demo",
            endpoint="demo",
            hyperparameters=kind(**(values | settings | hyperparameters)),
            training_instance_type="Local_CPU",
            serving_instance_type="Local_CPU",
            reasons={},
            continued_from=continued_from,
        )

    return make


class Bench:
    """One run's inputs and outputs, and the commands on them."""

    def __init__(self, folder: Path, base: Path, data: Path, recipe: Any) -> None:
        self.base, self.data, self.output = base, data, folder / "run"
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(recipe.model_dump_json() if hasattr(recipe, "model_dump_json") else recipe)

    def arguments(self, job: str = "run-1-training-1", output: Path | None = None) -> list[str]:
        return [
            *("--job-name", job, "--data", str(self.data), "--base-model", str(self.base)),
            *("--recipe", str(self.recipe), "--output", str(output or self.output)),
        ]

    def train(self, *more: str, **names: Any) -> int:
        from training_job import train

        return train.main([*self.arguments(**names), *more])

    def train_and_kill(self, *more: str) -> None:
        """Train in a process of its own, and end it with SIGKILL once it has a whole checkpoint."""
        command = [sys.executable, "-m", "training_job.train", *self.arguments(), *more]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list((self.output / "checkpoints").glob("checkpoint-*/complete.json")):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -9

    def trainer(self, continue_from: Path | None = None) -> Any:
        """The trainer that a run would train with."""
        from shared.domain.recipe import ResolvedRecipe
        from shared.rendering.check import LengthPolicy
        from training_job.data.chat_rows import bundle_of
        from training_job.data.selection import EncodedData
        from training_job.job.setup import Setup
        from training_job.model.quantized import load_tokenizer
        from training_job.train import method_of

        recipe = ResolvedRecipe.model_validate_json(self.recipe.read_bytes())
        tokenizer, method = load_tokenizer(self.base), method_of(recipe)
        rows = self.data / "train.jsonl"
        data = EncodedData.of(method.read(rows, bundle_of(tokenizer), LengthPolicy(256, "reject")), rows, recipe)
        chosen = recipe.hyperparameters
        sizes = (chosen.total_steps, chosen.micro_batch_size)
        setup = Setup(self.base, self.output, recipe, tokenizer, *sizes, continue_from)
        return method.build(setup, data)

    def adapter(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.output / "model" / "adapter" / "adapter_model.safetensors")

    def curve(self, *keys: str) -> list[tuple[Any, ...]]:
        """Step and the values of `keys` of every line, without what depends on the clock."""
        return [(point["step"], *(point.get(key) for key in keys)) for point in self.metrics()]

    def evaluate(self, *more: str, output: Path) -> int:
        from training_job import evaluate

        return evaluate.main([*self.arguments("run-1-evaluating-1", output), *more])

    def result(self, output: Path | None = None) -> Any:
        from shared.domain.results import JobResult

        return JobResult.model_validate_json(((output or self.output) / "result.json").read_bytes())

    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def bench(
    random_base: Path,
    write_data: WriteData,
    some_rows: list[dict[str, Any]],
    resolved: Callable[..., Any],
) -> Callable[..., Bench]:
    """Make a Bench in a folder; data, recipe and base may be others."""

    def make(folder: Path, **other: Any) -> Bench:
        folder.mkdir(parents=True, exist_ok=True)
        data = other.get("data") or write_data(folder / "data", some_rows, some_rows[:6])
        return Bench(folder, other.get("base", random_base), data, other.get("recipe") or resolved())

    return make


@pytest.fixture(scope="session")
def finished(bench: Callable[..., Bench], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An uninterrupted run of twenty steps; tests read it and leave it as it is."""
    run = bench(tmp_path_factory.mktemp("finished"))
    assert run.train() == 0
    return run


@pytest.fixture
def as_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[JudgeServer], None]]:
    """The variables Azure ML gives a job, for the server's token route."""

    from training_job.evaluation import judges

    def use(server: JudgeServer) -> None:
        judges._credential.cache_clear()
        monkeypatch.setenv("MSI_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("MSI_SECRET", "s")

    yield use
    judges._credential.cache_clear()


@pytest.fixture(scope="session")
def pairs() -> list[dict[str, Any]]:
    return [pair(n) for n in range(25)]  # 5 of them select


@pytest.fixture(scope="session")
def prompts() -> list[dict[str, Any]]:
    return [prompt(n) for n in range(40)]  # 8 of them select


@pytest.fixture(scope="module")
def encoded_rows() -> list[Any]:
    """Rows of 6 to 60 tokens; about a third of each is trained on."""
    from training_job.data.chat_rows import IGNORED, Encoded

    chance = random.Random(5)
    made = []
    for number in range(1, 12):
        ids = [chance.randrange(3, 600) for _ in range(chance.randrange(6, 61))]
        start = len(ids) * 2 // 3
        made.append(Encoded(number, ids, [IGNORED] * start + ids[start:]))
    return made
