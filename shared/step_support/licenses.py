"""Has a person accepted the license of a base model, as it is now?"""

from collections.abc import Collection
from itertools import takewhile

from shared.domain.catalog import BaseModelEntry
from shared.domain.errors import Problem
from shared.domain.policy import PlatformPolicy
from shared.ports import BlobStore, Services
from shared.records import licenses


def terms_sha256(entry: BaseModelEntry, blobs: BlobStore) -> str:
    """Hash of what is accepted: the catalog's entry, and the license files that were in the folder at its import."""
    from shared.base_models.bundles import bundle_manifest  # with tokenizers and jinja2, which few functions need

    manifest = bundle_manifest(entry, blobs)
    return entry.terms.sha256(manifest.license_files if manifest else {})


def review_problem(
    entry: BaseModelEntry, policy: PlatformPolicy, services: Services, requester_ids: Collection[str] = ()
) -> Problem | None:
    """`license_review` where a person has to decide first, or has refused; None where the model may be tuned.
    `requester_ids`: ids of persons whose acceptance alone is not enough."""
    decisions = licenses.decisions(services.store, entry.id)[::-1]
    newest = decisions[0] if decisions else None
    who = f"{newest.by} on {newest.at:%Y-%m-%d}" if newest else ""
    every = policy.review_every_license and entry.terms.policy == "allow" and not entry.terms.own
    if newest is not None and not newest.accepted:
        why = f"it was refused by {who}: {newest.comment}"
    elif entry.terms.policy != "review" and not every:
        return None
    elif newest is None:
        why = "nobody has accepted it yet"
    else:
        terms = terms_sha256(entry, services.blobs)
        since_refusal = takewhile(lambda one: one.accepted, decisions)
        accepted_by = {one.by_id for one in since_refusal if one.terms_sha256 == terms}
        if not accepted_by:
            why = f"what {who} accepted has changed"
        elif accepted_by <= {"", *requester_ids}:
            why = f"it was accepted by {who} alone, who asked for this run: another administrator accepts it too"
        else:
            return None
    message = f"the license of {entry.id} ({entry.terms.id}): {why}; `droptune license show {entry.id}`"
    return Problem(code="license_review", message=message, param="base_model")
