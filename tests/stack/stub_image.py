"""Images for training and serving without models, for tests of what happens around a job."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from local_stack.azure_ml.config import ENVIRONMENTS
from local_stack.stack import ENVIRONMENTS as ENVIRONMENTS_FILE
from tests.paths import ROOT
from tests.stack import stub_jobs, stub_server


def install(root: Path, *earlier: str) -> None:
    """Let the stack that is to be started in this folder have these images in place of the real ones.

    `earlier` are names of the training image in earlier versions.
    """
    root.mkdir(parents=True)
    python = root / "python-of-the-stub-image"
    # The real command is `python -m training_job.train ...`: without its first word these are our options.
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -m {stub_jobs.__name__} "$@"\n')
    python.chmod(0o755)
    training, serving = ENVIRONMENTS
    variables = {"PYTHONPATH": str(ROOT)}
    images = {
        **{name: {"python": str(python), "variables": variables} for name in (training, *earlier)},
        serving: {
            "serve": ["{python}", "-m", stub_server.__name__, "{model}", "{port}"],
            "variables": variables,
        },
    }
    (root / ENVIRONMENTS_FILE).write_text(json.dumps(images))
