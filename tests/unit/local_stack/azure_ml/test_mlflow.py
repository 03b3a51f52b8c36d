"""Metrics by MLflow."""

from __future__ import annotations

import pytest

from tests.unit.local_stack.azure_ml.support import Local, job

LOG_METRICS = """
python -c '
from mlflow.tracking import MlflowClient
import os
client, run = MlflowClient(), os.environ["MLFLOW_RUN_ID"]
for step in range(3):
    client.log_metric(run, "train_loss", 1.0 / (step + 1), step=step)
client.log_param(run, "seed", 42)
client.set_tag(run, "phase", "train")
client.log_batch(run, params=[], tags=[])
print(client.get_run(run).data.params, client.get_run(run).info.status)
'
"""


@pytest.mark.ci
def test_metrics_logged_by_mlflow_are_read_back_in_order(local: Local) -> None:
    local.client.submit(job("logs-metrics", LOG_METRICS))
    assert local.finish("logs-metrics").error_message is None
    points = local.client.metric_history("logs-metrics", "train_loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert points[0].at > 1_600_000_000_000
    log = local.emulator.config.root / "jobs/logs-metrics/user_logs/std_log.txt"
    assert log.read_text() == "{'seed': '42'} RUNNING\n"
    assert local.client.metric_history("logs-metrics", "eval_loss") == []
