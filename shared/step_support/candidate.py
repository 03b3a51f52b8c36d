"""Is the model that is approved and deployed the one that was evaluated? And four eyes: what an approval is about, who
may give it, and how many are needed."""

import hashlib
import json

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run
from shared.ports import BlobStore, Services
from shared.records import runs


def model_sha256(run: Run, blobs: BlobStore) -> str:
    """Hash of names, sizes and etags of all files of the model, the adapter's too: who writes one changes its etag."""
    files = [(info.path, info.size_bytes, info.etag) for info in blobs.list(f"{paths.run(run.id, 'model')}/")]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def require_same_model(run: Run, blobs: BlobStore) -> str:
    """The hash. Raises PermanentFailure `model_changed`. A run of an earlier version, and one that is not evaluated
    yet, has none to compare with."""
    found = model_sha256(run, blobs)
    if run.model_sha256 not in (None, found):
        message = f"the files of the model of {run.id} were changed after its evaluation began: `droptune retry`"
        raise PermanentFailure(FailureClass.DATA, "model_changed", message, paths.run(run.id, "model"))
    return found


def require_same_champion(run_id: str | None, services: Services) -> None:
    """What a candidate is measured against or continues from is what was promoted. Raises as `require_same_model`."""
    run = runs.load(services.store, run_id) if run_id else None
    if run is not None:
        require_same_model(run, services.blobs)


# Approvals.


def candidate_sha256(run: Run) -> str:
    """Hash of what is approved: the model's files, the rows it learned from, what it replaces, where, and the verdict.
    Another of these needs another approval."""
    verdict = run.verdict.model_dump(mode="json") if run.verdict else None
    result = run.evaluation.model_dump(mode="json") if run.evaluation else None
    version = run.curated.version if run.curated else None
    endpoint = run.recipe.endpoint if run.recipe else None
    about = [run.model_sha256, version, run.champion, endpoint, verdict, result]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def objection(run: Run, person_id: str, candidate: str, policy: PlatformPolicy) -> Problem | None:
    """Why this person's approval does not count; None if it does."""
    if candidate != candidate_sha256(run):
        message = "the model, its rows or its verdict are others than those that were looked at: look again"
        return Problem(code="candidate_changed", message=message, param=run.id)
    if not person_id:
        return Problem(code="unknown_person", message="an approval without a person does not count", param=run.id)
    if person_id in run.requester_ids:
        message = "who asked for a run or uploaded its files may not approve it"
        return Problem(code="self_approval", message=message, param=run.id)
    # Where the policy asks for fewer by now, one of those who approved says so again.
    if approvals_missing(run, policy) and person_id in _approved_by(run, policy):
        message = "this person has approved already, and another one is needed"
        return Problem(code="approved_already", message=message, param=run.id)
    return None


def approvals_missing(run: Run, policy: PlatformPolicy) -> int:
    """How many persons more must approve. Where it is not known whose the files are, nobody can be ruled out."""
    needed = policy.approvers if run.uploader_ids else max(policy.approvers, policy.approvers_if_unknown)
    return max(0, needed - len(_approved_by(run, policy)))


def _approved_by(run: Run, policy: PlatformPolicy) -> set[str]:
    """Whose approval counts: not that of a person who is no approver any more."""
    by = ((one.by_id, one.by_as) for one in run.approvals)
    return {person for person, by_as in by if not by_as or policy.membership(run.project, "approver", by_as)}
