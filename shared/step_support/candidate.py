"""Is the model that is approved and deployed the one that was evaluated?"""

import hashlib
import json

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.run import Run
from shared.ports import BlobStore, Services
from shared.records import runs


def model_sha256(run: Run, blobs: BlobStore) -> str:
    """Hash of names, sizes and etags of all files of the model, the adapter's too: who writes one changes its etag."""
    files = [(info.path, info.size_bytes, info.etag) for info in blobs.list(f"{paths.model(run.id)}/")]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def require_same_model(run: Run, blobs: BlobStore) -> str:
    """The hash. Raises PermanentFailure `model_changed`. A run of an earlier version, and one that is not evaluated
    yet, has none to compare with."""
    found = model_sha256(run, blobs)
    if run.model_sha256 not in (None, found):
        message = f"the files of the model of {run.id} were changed after its evaluation began: `droptune retry`"
        raise PermanentFailure(FailureClass.DATA, "model_changed", message, paths.model(run.id))
    return found


def require_same_champion(run_id: str | None, services: Services) -> None:
    """What a candidate is measured against or continues from is what was promoted. Raises as `require_same_model`."""
    run = runs.load(services.store, run_id) if run_id else None
    if run is not None:
        require_same_model(run, services.blobs)
