"""What `manifest.json` of a curated version says, whoever writes it: the function or the CPU job."""

from __future__ import annotations

from shared.domain.dataset import CuratedVersion, DatasetRef
from shared.validation.validator import Validated


def curated_version(validated: Validated, project: str, source: DatasetRef) -> CuratedVersion:
    """The version made of a dataset that passed."""
    assert validated.version is not None
    statistics = validated.report.statistics
    return CuratedVersion(
        project=project,
        version=validated.version,
        source=source,
        train_rows=statistics.train_rows,
        eval_rows=statistics.eval_rows,
        characters_max=statistics.characters_max,
    )
