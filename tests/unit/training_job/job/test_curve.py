"""The curve of a run: in its file, and mirrored to MLflow."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FakeMlflow(http.server.BaseHTTPRequestHandler):
    """Takes log-batch calls; `status` says how it answers, and `may_answer` when."""

    status, may_answer = 200, threading.Event()
    batches: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.may_answer.wait(120)
        if self.path.endswith("/runs/log-batch"):
            self.batches.append(json.loads(body))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


def until_mirrors_end() -> None:
    """A mirror whose server is gone tries every point it has; while this test's settings hold, that is soon over."""
    for thread in threading.enumerate():
        if thread.name == "mlflow-mirror":
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def mlflow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeMlflow]]:
    class Handler(FakeMlflow):
        batches, may_answer = [], threading.Event()

    Handler.may_answer.set()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_RUN_ID", "run-1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield Handler
    Handler.may_answer.set()
    server.shutdown()
    server.server_close()
    until_mirrors_end()


@pytest.mark.ci
def test_mlflow_gets_the_whole_curve(
    mlflow_server: type[FakeMlflow], bench: Callable[..., Any], resolved: Callable[..., Any], tmp_path: Path
) -> None:
    run = bench(tmp_path, recipe=resolved(total_steps=6))
    assert run.train() == 0
    posted: dict[str, list[tuple[int, float]]] = {}
    for batch in mlflow_server.batches:
        assert batch["run_id"] == "run-1"
        for metric in batch["metrics"]:
            posted.setdefault(metric["key"], []).append((metric["step"], metric["value"]))
    assert set(posted) == {
        *("train_loss", "eval_loss", "learning_rate", "tokens_per_s", "eta_s", "grad_norm", "step_total"),
        "peak_memory_bytes",
    }
    assert posted["train_loss"] == [(p["step"], p["loss"]) for p in run.metrics() if "loss" in p]


@pytest.mark.few_cases(1)
@pytest.mark.parametrize(("status", "hangs"), [(500, False), (200, True)], ids=["failing", "hanging"])
def test_a_broken_mlflow_neither_stops_nor_slows_training(
    mlflow_server: type[FakeMlflow], status: int, hangs: bool, tmp_path: Path
) -> None:
    from training_job.job.curve import Curve

    mlflow_server.status = status
    if hangs:  # to the end of the test, which would be killed if `add` or `close` waited
        mlflow_server.may_answer.clear()
    curve = Curve(tmp_path)
    for step in range(200):
        curve.add({"step": step, "loss": 1.0})
    curve.close(timeout_s=0.2)
    assert len(curve.values("loss")) == 200
    assert mlflow_server.batches == [] or not hangs


def test_lines_of_the_file_that_are_no_points_are_passed_over(tmp_path: Path) -> None:
    from training_job.job.curve import Curve

    no_points = ["null", "7", "[]", '"x"', "{}", '{"loss": 1}', '{"step": "3"}', '{"step": 2, "loss": "x"}', '{"step"']
    curve = Curve(tmp_path)
    curve.add({"step": 1, "loss": 2.0})
    curve.path.write_text("\n".join([*no_points, '{"step": 2, "loss": 1.5, "kl": null}', ""]) + curve.path.read_text())
    curve.rewind(1)
    assert curve.path.read_text() == '{"step":1,"loss":2.0}\n'
    curve.path.write_text("\n".join(no_points))
    assert (curve.points(), curve.values("loss")) == ([], [])


@pytest.mark.ci
def test_a_run_without_mlflow_server_completes(
    monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Any], resolved: Callable[..., Any], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_RUN_ID", "run-1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = bench(tmp_path, recipe=resolved(total_steps=6))
    assert run.train() == 0
    until_mirrors_end()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
