"""One line a step in `metrics.jsonl`, and MLflow, which may be slow or down without any effect, where there is one."""

import os
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from shared.domain.results import CURVE_FILE
from training_job.job.files import append_line, write_lines
from training_job.job.processes import is_main_process

_REWARDS = ("reward", "reward_spread", "reward_gap", "reward_accuracy", "reward_margin")
_SAME = (
    *("eval_loss", "learning_rate", "tokens_per_s", "eta_s", "grad_norm", "peak_memory_bytes"),
    *(f"{kind}{name}" for kind in ("", "eval_") for name in _REWARDS),
    *("share_equal_groups", "reward_errors", "answer_tokens", "kl"),
)
MLFLOW_NAMES = {"loss": "train_loss", "total_steps": "step_total"} | {name: name for name in _SAME}


class Curve:
    """Appends points to the file and passes them on to MLflow."""

    def __init__(self, output: Path) -> None:
        self.path = output / CURVE_FILE
        self._writes = is_main_process()
        self._mirror = MlflowMirror.from_environment() if self._writes else None

    def rewind(self, step: int) -> None:
        """Forget points after `step`, so that a resumed run writes each step once; 0 forgets all."""
        if self._writes:
            write_lines(self.path, [point for point in self.points() if step and point["step"] <= step])

    def add(self, point: dict[str, Any]) -> None:
        """Write one point; `step` is required. Of several processes only the first writes."""
        if not self._writes:
            return
        append_line(self.path, point)
        if self._mirror:
            values = {MLFLOW_NAMES[k]: v for k, v in point.items() if k in MLFLOW_NAMES and v is not None}
            self._mirror.post(point["step"], values)

    def points(self) -> list[dict[str, Any]]:
        """All points, in order of time."""
        lines: list[Any] = []
        for raw in self.path.read_bytes().splitlines() if self.path.exists() else []:
            with suppress(orjson.JSONDecodeError):  # torn by a kill
                lines.append(orjson.loads(raw))
        dicts = [line for line in lines if isinstance(line, dict) and type(line.get("step")) is int]
        return [line for line in dicts if all(type(value) in (int, float, type(None)) for value in line.values())]

    def values(self, key: str) -> list[float]:
        """All values of one key, in order of time."""
        return [point[key] for point in self.points() if point.get(key) is not None]

    def close(self, timeout_s: float = 5.0) -> None:
        """Give MLflow a moment to take the last points."""
        if self._mirror:
            self._mirror.close(timeout_s)


class MlflowMirror:
    """Posts points to an MLflow run from a thread of its own; whatever fails there is counted and dropped."""

    def __init__(self, uri: str, run_id: str) -> None:
        self.failures = 0
        self._uri, self._run_id = uri, run_id
        self._points: queue.Queue[tuple[int, int, dict[str, float]] | None] = queue.Queue(maxsize=1000)
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    @classmethod
    def from_environment(cls) -> "MlflowMirror | None":
        """The mirror where the platform sets MLFLOW_TRACKING_URI and MLFLOW_RUN_ID, else None."""
        uri, run_id = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_RUN_ID")
        return cls(uri, run_id) if uri and run_id else None

    def post(self, step: int, values: dict[str, float]) -> None:
        """Queue values for a step; never waits."""
        try:
            self._points.put_nowait((step, int(time.time() * 1000), values))
        except queue.Full:
            self.failures += 1

    def close(self, timeout_s: float) -> None:
        """Wait for the queue to empty, at most `timeout_s`."""
        try:
            self._points.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self.failures:
            print(f"mlflow: {self.failures} posts failed; the curve is whole in {CURVE_FILE}", flush=True)

    def _work(self) -> None:
        client: Any = None
        while (point := self._points.get()) is not None:
            try:
                if client is None:
                    from mlflow import MlflowClient

                    client = MlflowClient(tracking_uri=self._uri)
                self._send(client, *point)
            except Exception:
                self.failures += 1

    def _send(self, client: Any, step: int, at_ms: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, at_ms, step) for name, value in values.items()]
        client.log_batch(self._run_id, metrics=metrics)
