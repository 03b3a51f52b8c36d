from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest

from training_job.evaluation import scoring


@pytest.fixture(scope="module", autouse=True)
def _draws_are_kept() -> Iterator[None]:
    """The reports of a recipe draw the same rows. A job, which writes one report, keeps two sets, for their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_counts", lru_cache(maxsize=64)(scoring._counts.__wrapped__))
        yield
