"""The server of deployments on this machine, asked as the probe asks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.azure_ml.config import ENVIRONMENTS
from local_stack.processes import free_port
from local_stack.tiny_base.shipped import shipped_base
from shared.domain.prompts import as_dialogue, prompt_of
from shared.rendering.bundle import read_bundle_folder
from tests.unit.shared.domain.test_prompts_everywhere import CONTEXTS, FORMS, canonical

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def base() -> Path:
    return shipped_base()


@pytest.fixture(scope="module")
def server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    port = free_port(None)
    _, serving = ENVIRONMENTS.values()
    command = [part.format(python=sys.executable, model=base, port=port) for part in serving.serve]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    ends = time.monotonic() + 300
    while not _healthy(f"http://127.0.0.1:{port}/health"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1/chat/completions"
    process.kill()
    process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("form", FORMS)
def test_it_counts_as_many_tokens_as_the_evaluation(server: str, base: Path, form: Any) -> None:
    from training_job.evaluation.answers import question

    bundle = read_bundle_folder(base)
    for name, context in CONTEXTS.items():
        row = canonical(form(*context))
        body = {**prompt_of(row).body(), "max_tokens": 1, "temperature": 0}
        answer = httpx.post(server, json=body, timeout=120, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["prompt_tokens"] == len(question(bundle, as_dialogue(row), 1).ids), name
