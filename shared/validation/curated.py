"""`manifest.json` of a curated version, the same from the function and from the CPU job."""

from shared.domain.dataset import CuratedVersion, DatasetRef, Policy, Report
from shared.domain.recipe import Recipe
from shared.validation.validator import Validated

# Raised with every change that makes other rows, another split or another canonical form of the same file.
VALIDATOR_VERSION = "4"
_OF_RECIPE = (
    "over_length", "personal_data", "personal_data_allowed", "deidentify", "secrets", "harmful_content",
    "harmful_content_allowed",
)  # fmt: skip


def curated_version(validated: Validated, project: str, source: DatasetRef) -> CuratedVersion:
    """The version made of a dataset that passed."""
    assert validated.version is not None
    assert validated.recipe is not None
    report, tokens = validated.report, validated.report.tokens
    statistics = report.statistics
    return CuratedVersion(
        project=project,
        version=validated.version,
        source=source,
        train_rows=statistics.train_rows,
        eval_rows=statistics.eval_rows,
        characters_max=statistics.characters_max,
        eval_sha256=validated.eval_sha256,
        tokenizer_sha256=tokens.tokenizer_sha256 if tokens else None,
        tokens_max=max(tokens.tokens_max, tokens.eval_tokens_max) if tokens else None,
        rows_read=validated.rows_read,
        rows_dropped=validated.rows_read - statistics.train_rows - statistics.eval_rows,
        format=report.format,
        container=report.container,
        policy=_policy(report, validated.recipe),
        appended_to=validated.appended_to,
        rows_appended_to=validated.rows_appended_to,
        validator=VALIDATOR_VERSION,
    )


def _policy(report: Report, recipe: Recipe) -> Policy:
    data = recipe.data
    always = Policy(eval_source=report.eval_source, **{name: getattr(data, name) for name in _OF_RECIPE})
    if report.eval_source == "file":
        return always
    was_separated = any(group.code == "near_duplicates_split" for group in report.problems)
    return always.model_copy(
        update={
            "validation_split": data.validation_split,
            "split_group": data.split_group,
            "seed": recipe.method.hyperparameters.seed,
            "near_duplicates": "split" if was_separated else "grouped",
        }
    )
