"""Is the model that is approved and deployed the one that was evaluated?"""

import hashlib
import json

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.run import Run
from shared.ports import BlobStore


def model_sha256(run: Run, blobs: BlobStore) -> str:
    """Hash of the names, sizes and etags of the merged model's files: whoever writes one changes its etag."""
    files = [(info.path, info.size_bytes, info.etag) for info in blobs.list(f"{paths.merged_model(run.id)}/")]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def require_same_model(run: Run, blobs: BlobStore) -> str:
    """The hash. Raises PermanentFailure `model_changed`. A run of an earlier version, and one that is not evaluated
    yet, has none to compare with."""
    found = model_sha256(run, blobs)
    if run.model_sha256 not in (None, found):
        message = "the files of the model were changed after its evaluation began: `droptune retry` the run"
        raise PermanentFailure(FailureClass.DATA, "model_changed", message, paths.merged_model(run.id))
    return found
