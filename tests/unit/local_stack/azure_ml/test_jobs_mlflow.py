"""Metrics by MLflow."""

from __future__ import annotations

import pytest

from tests.unit.local_stack.azure_ml.support import Local, job

LOG_METRICS = """
python -c '
from training_job.job.curve import MlflowMirror
mirror = MlflowMirror.from_environment()
for step in range(3):
    mirror.post(step, {"train_loss": 1.0 / (step + 1)})
mirror.close(60.0)
'
"""


@pytest.mark.ci
def test_metrics_logged_by_mlflow_are_read_back_in_order(local: Local) -> None:
    local.client.submit(job("logs-metrics", LOG_METRICS))
    assert local.finish("logs-metrics").error_message is None
    points = local.client.metric_history("logs-metrics", "train_loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert points[0].at > 1_600_000_000_000
    assert local.client.metric_history("logs-metrics", "eval_loss") == []
