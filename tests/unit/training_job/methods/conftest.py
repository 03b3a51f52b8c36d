"""A reinforcement run, made once for all tests of a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training_job.methods.support import recipe_of


@pytest.fixture(scope="session")
def grpo(
    bench: Callable[..., Any], endless_base: Path, write_data: Any, prompts: list[Any], resolved: Any
) -> Callable[..., Any]:
    """Make a bench for a GRPO run of ten steps, each of four prompts with four answers as long as they may be."""

    def make(folder: Path, recipe: dict[str, Any] | None = None, **settings: Any) -> Any:
        data = write_data(folder / "data", prompts, prompts[:6])
        chosen = {"learning_rate": 1e-4, "total_steps": 10, "n_epochs": 2, **settings}
        return bench(folder, base=endless_base, data=data, recipe=resolved(recipe or recipe_of(), **chosen))

    return make


@pytest.fixture(scope="session")
def rewarded(grpo: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = grpo(tmp_path_factory.mktemp("grpo"))
    assert run.train() == 0
    return run
