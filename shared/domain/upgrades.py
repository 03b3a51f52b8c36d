"""What earlier versions of Droptune stored or sent, in the form of this one:
docs/decisions/0027-documents-have-versions.md. A new optional field changes no number; other changes get the next one,
a function from the form before it, and a state of that version in `tests/golden/state`."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from shared.domain.errors import LaterVersion

SCHEMA_VERSION = 1

Content = dict[str, Any]
Upgrade = Callable[[Content], None]
Model = TypeVar("Model", bound=BaseModel)


def upgraded(kind: str, content: Content, version: object) -> Content:
    """`content` in the form of SCHEMA_VERSION. Kinds: of documents, `event`, models of files that jobs write. Without a
    number the steps go by its shape. Raises LaterVersion for a number that no step leads to, ValueError for content
    that is nested deeper than it can be copied."""
    if isinstance(version, int) and version > len(_STEPS):
        raise LaterVersion("later_version", f"{kind}: schema version {version} is for a host of a later version")
    steps = [by_kind[kind] for by_kind in _STEPS[version if isinstance(version, int) else 0 :] if kind in by_kind]
    try:
        content = deepcopy(content) if steps else content
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    for step in steps:
        step(content)
    return content


def read_file(model: type[Model], text: bytes) -> Model:
    """The document in a file that a job or another version of the app wrote. Raises ValidationError."""
    try:
        content = from_json(text)
    except ValueError:
        return model.model_validate_json(text)  # says what is wrong with it
    if isinstance(content, dict):
        content = upgraded(model.__name__, content, None)
    return model.model_validate(content, extra="ignore")


def with_unknown(stored: Any, read: Any, changed: Any) -> Any:
    """`changed` with what `stored` content has beyond `read`; in a list only items that are unchanged keep it."""
    if isinstance(stored, dict) and isinstance(read, dict) and isinstance(changed, dict):
        unknown = {name: value for name, value in stored.items() if name not in read}
        return unknown | {name: with_unknown(stored.get(name), read.get(name), changed[name]) for name in changed}
    if isinstance(stored, list) and isinstance(read, list) and isinstance(changed, list):
        kept = [with_unknown(s, r, c) if r == c else c for s, r, c in zip(stored, read, changed, strict=False)]
        return kept + changed[len(kept) :]
    return changed


def _at(content: Any, path: str) -> Iterator[Content]:
    """The objects at a dotted path; those of a list one by one, none where the path leads nowhere."""
    if isinstance(content, list):
        for item in content:
            yield from _at(item, path)
    elif isinstance(content, dict):
        first, _, rest = path.partition(".")
        if not first:
            yield content
        else:
            yield from _at(content.get(first), rest)


def _rename(content: Any, path: str, **names: str) -> None:
    for found in _at(content, path):
        for old, new in names.items():
            if old in found:
                found.setdefault(new, found.pop(old))


def _replace(content: Any, path: str, name: str, **values: str) -> None:
    for found in _at(content, path):
        if found.get(name) in values:
            found[name] = values[found[name]]


# 0 -> 1: until 25 November 2026 documents had no number.


def _run(run: Content) -> None:
    _resolved_recipe(run.get("recipe"))
    _curated(run.get("curated"))
    _evaluation(run.get("evaluation"))
    _rename(run, "cost", hours_low="low_hours", hours_high="high_hours")
    _rename(run, "jobs", stage="kind")
    _rename(run, "training", trained_tokens="processed_tokens", steps="last_step")


def _event(event: Content) -> None:
    event["schemaversion"] = 1
    _rename(event, "data", trained_tokens="processed_tokens", answers_asked="answers_requested")
    _rename(event, "data.estimate", hours_low="low_hours", hours_high="high_hours")
    for data in _at(event, "data"):
        for verdict in _at(data.pop("verdict", None), ""):
            failed = [check for check in verdict["checks"] if not check["passed"] and not check.get("skipped")]
            data |= {"passed": verdict["passed"], "checks": len(verdict["checks"]), "failed_checks": len(failed)}
            data["failed"] = failed[:20]


_HYPERPARAMETERS = {"quantisation": "quantization", "optimiser": "optimizer", "max_answer_tokens": "max_new_tokens"}


def _resolved_recipe(resolved: Any) -> None:
    _rename(resolved, "", recipe="requested")
    _rename(resolved, "hyperparameters", **_HYPERPARAMETERS, answers_at_once="generation_batch_size")
    for found in _at(resolved, "requested"):
        _recipe(found)


def _recipe(recipe: Any) -> None:
    _rename(recipe, "data", holdout="validation_split", group="split_group")
    _rename(recipe, "method.hyperparameters", **_HYPERPARAMETERS)
    _rename(recipe, "evaluation.gate", general_suite="max_general_regression")


def _curated(version: Any) -> None:
    _rename(version, "", bundle_sha256="tokenizer_sha256")
    _rename(version, "policy", holdout="validation_split", group="split_group", near_copies="near_duplicates")
    _replace(version, "policy", "near_duplicates", together="grouped")
    _replace(version, "policy", "eval_source", carved="split")


def _evaluation(result: Any) -> None:
    for found in _at(result, ""):
        found.setdefault("base_template_sha256", found.get("template_sha256"))
    for part in _at(result, "slices"):
        over = "base" if part.get("champion") is None else "champion"
        gain = part["candidate"] - part[over]
        part.setdefault("gain", {"over": over, "mean": gain, "low": gain, "high": gain})  # no interval was measured


def _report(report: Any) -> None:
    _rename(report, "statistics", messages_a_row="messages_per_row", characters_a_row="characters_per_row")
    _rename(report, "plan", rows_a_step="rows_per_step", tokens_a_step="tokens_per_step")
    _rename(report, "plan", hours_low="low_hours", hours_high="high_hours")
    _replace(report, "", "eval_source", carved="split")
    for found in _at(report, ""):
        if any("max_length_tokens" not in plan for plan in _at(found, "plan")):
            found["plan"] = None  # it is not known any more


def _outcome(outcome: Content) -> None:
    _report(outcome.get("report"))
    _recipe(outcome.get("recipe"))
    _curated(outcome.get("curated"))


_OF_A_RESULT = frozenset({"job", "status", "failure_class", "problem", "finished_at", "metrics"})


def _job_result(result: Content) -> None:
    measured = {name: result.pop(name) for name in result.keys() - _OF_A_RESULT}
    result["metrics"] = {**measured, **result.get("metrics", {})}
    _rename(result, "metrics", trained_tokens="processed_tokens")


_STEPS: tuple[dict[str, Upgrade], ...] = (
    {
        "run": _run,
        "event": _event,
        "BundleManifest": lambda manifest: _rename(manifest, "", duties="obligations"),
        "CuratedVersion": _curated,
        "EvaluationResult": _evaluation,
        "JobResult": _job_result,
        "Report": _report,
        "ResolvedRecipe": _resolved_recipe,
        "ValidationOutcome": _outcome,
    },
)
