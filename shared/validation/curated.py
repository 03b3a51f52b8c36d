"""What `manifest.json` of a curated version says, whoever writes it: the function or the CPU job."""

from __future__ import annotations

from shared.domain.dataset import CuratedVersion, DatasetRef, Policy, Report
from shared.domain.recipe import Recipe
from shared.validation.validator import Validated

# Raised with every change that makes other rows, another split or another canonical form of the same file.
VALIDATOR_VERSION = "2"


def curated_version(validated: Validated, project: str, source: DatasetRef) -> CuratedVersion:
    """The version made of a dataset that passed."""
    assert validated.version is not None
    assert validated.recipe is not None
    report = validated.report
    statistics = report.statistics
    return CuratedVersion(
        project=project,
        version=validated.version,
        source=source,
        train_rows=statistics.train_rows,
        eval_rows=statistics.eval_rows,
        characters_max=statistics.characters_max,
        rows_read=validated.rows_read,
        rows_dropped=validated.rows_read - statistics.train_rows - statistics.eval_rows,
        format=report.format,
        container=report.container,
        policy=_policy(report, validated.recipe),
        validator=VALIDATOR_VERSION,
    )


def _policy(report: Report, recipe: Recipe) -> Policy:
    if report.eval_source == "file":
        return Policy(eval_source="file")
    return Policy(
        eval_source=report.eval_source,
        holdout=recipe.data.holdout,
        group=recipe.data.group,
        seed=recipe.method.hyperparameters.seed,
    )
