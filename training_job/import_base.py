"""Import a base model: check the folder that jobs will mount, train a small copy, and export what the function needs.

FOLDER must be the model that the catalog describes, in safetensors; the failure lists all that is wrong. Then a small
copy is trained and asked (`preflight.py`), and the weights are compared with its `config.json` (`model/weights.py`).
BUNDLE has no manifest while it is being changed. Exit codes: training_job/job/runtime.py."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from tokenizers import Tokenizer

from shared.domain.catalog import BaseModelEntry, find_entry, offer_option
from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering.bundle import CONFIG, MANIFEST, TOKENIZER, export_bundle
from training_job.job.files import model_folder
from training_job.job.processes import importing
from training_job.job.runtime import parse_arguments, require, run_job, work_offline
from training_job.model.base_folder import objections


@dataclass(frozen=True, kw_only=True)
class ImportArguments:
    """The command line."""

    job_name: Annotated[str, "named in the result"]
    base_model: Annotated[str, "catalog id"]
    own_base: Annotated[str | None, "the tenant's own entry: JSON, percent-encoded"] = None
    folder: Annotated[Path, "the mounted model"]
    bundle: Annotated[Path, "folder of its tokenizer bundle"]
    output: Annotated[Path, "folder for the result"]


def main(argv: list[str] | None = None) -> int:
    task = parse_arguments(ImportArguments, "training_job.import_base", __doc__, argv)
    work_offline()
    return run_job(task.job_name, task.output, lambda _metrics: import_base(task))


def import_base(task: ImportArguments) -> None:
    """Raises PermanentFailure of class recipe, `base_model_unfit` or as `export_bundle` does; `input_missing`."""
    require(task.folder)
    offer_option(task.own_base)
    entry, folder = find_entry(task.base_model), model_folder(task.folder)
    print(f"{entry.id}, license {entry.terms.id}: {' '.join(entry.terms.obligations)}", flush=True)
    wrong = list(objections(entry, folder))
    if wrong:
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", "; ".join(wrong), entry.id)
    files = export_bundle(entry, folder)
    _check_tokenizer(entry, folder)
    with importing():
        from training_job.model.weights import require_weights
        from training_job.preflight import preflight
    print(f"preflight: {preflight(entry, folder)}", flush=True)
    require_weights(folder, entry.id)
    changed = write_bundle(files, task.bundle)
    print(f"{'exported' if changed else 'unchanged'}: {', '.join(files)}", flush=True)


def _check_tokenizer(entry: BaseModelEntry, folder: Path) -> None:
    """Training and the server read with transformers, for which other files add to `tokenizer.json` or overrule it."""
    from transformers import TokenizersBackend

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    wrong = []
    if highest >= entry.dims.vocab:
        wrong.append(f"the tokenizer has the token {highest}, the model only {entry.dims.vocab}")
    try:
        read = TokenizersBackend.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        wrong.append(f"transformers cannot read its tokenizer: {type(error).__name__}: {error}")
    else:
        ours, theirs = _parts(tokenizer), _parts(read.backend_tokenizer)
        if differ := [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)][:20]:
            wrong.append(f"transformers reads other than {TOKENIZER} has, by {CONFIG} or others: {', '.join(differ)}")
        if read.split_special_tokens:
            wrong.append(f"{CONFIG} has special tokens read as text (split_special_tokens)")
    if wrong:
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", "; ".join(wrong), entry.id)


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    """All that decides which tokens a chat has: nothing is put around it, which is a matter of the post-processor."""
    parts: dict[str, Any] = orjson.loads(tokenizer.to_str())
    added = {f"{token['id']} {token['content']}": {**token, "special": None} for token in parts.pop("added_tokens")}
    return {
        name: part for name, part in parts.items() if name not in ("truncation", "padding", "post_processor")
    } | added


def write_bundle(files: dict[str, bytes], folder: Path) -> bool:
    """Make the folder hold these files; False if it did. A reader in between finds no manifest, and so no bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    if before == files:
        return False
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in before.keys() - files.keys():
        (folder / name).unlink()
    for name, content in files.items():  # the manifest is the last
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return True


if __name__ == "__main__":
    sys.exit(main())
