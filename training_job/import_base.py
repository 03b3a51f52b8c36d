"""Import a base model: check the folder that jobs will mount, and export what the function needs of it.

    python -m training_job.import_base --job-name NAME --base-model ID --folder DIR --bundle DIR --output DIR

FOLDER is the mounted asset of the catalog's entry ID. It must hold safetensors and no pickle, no code, and be the
model that the catalog describes; the failure lists all that is wrong. BUNDLE then gets the tokenizer bundle
(`shared/rendering/export.py`); it has no manifest while it is being changed, and an equal one is left alone.
Always writes OUTPUT/result.json. Exit codes: training_job/job/exit_codes.py.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tokenizers import AddedToken

from shared.domain.catalog import BaseModelEntry, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering import export_bundle, read_bundle
from shared.rendering.bundle import CONFIG, TOKENIZER
from shared.rendering.export import MANIFEST
from training_job.job.arguments import parse_arguments
from training_job.job.files import model_folder
from training_job.job.runtime import require, run_job
from training_job.model.base_folder import objections

FLAGS = ("lstrip", "rstrip", "single_word", "normalized")  # of an added token; the special ones differ without effect


@dataclass(frozen=True, kw_only=True)
class ImportArguments:
    """The command line."""

    job_name: Annotated[str, "named in the result"]
    base_model: Annotated[str, "catalog id"]
    folder: Annotated[Path, "the mounted model"]
    bundle: Annotated[Path, "folder of its tokenizer bundle"]
    output: Annotated[Path, "folder for the result"]


def main(argv: list[str] | None = None) -> int:
    task = parse_arguments(ImportArguments, "training_job.import_base", __doc__, argv)
    return run_job(task.job_name, task.output, lambda _metrics: import_base(task))


def import_base(task: ImportArguments) -> None:
    """Raises PermanentFailure of class recipe, `base_model_unfit` or as `export_bundle` does; `input_missing`."""
    require(task.folder)
    entry, folder = find_entry(task.base_model), model_folder(task.folder)
    print(f"{entry.id}, license {entry.license}: {' '.join(entry.obligations)}", flush=True)
    wrong = list(objections(entry, folder))
    if wrong:
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", "; ".join(wrong), entry.id)
    files = export_bundle(entry, folder)
    _check_tokenizer(entry, files)
    changed = write_bundle(files, task.bundle)
    print(f"{'exported' if changed else 'unchanged'}: {', '.join(files)}", flush=True)


def _check_tokenizer(entry: BaseModelEntry, files: dict[str, bytes]) -> None:
    """Training reads with transformers, for which `tokenizer_config.json` adds to `tokenizer.json` and overrules it."""
    bundle, config = read_bundle(files.get), json.loads(files.get(CONFIG, b"{}"))
    tokenizer, named = bundle.tokenizer, [*bundle.named_tokens.values()]
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    wrong = [f"the tokenizer has the token {highest}, the model only {entry.dims.vocab}"] * (
        highest >= entry.dims.vocab
    )
    others = [one for one in config.get("additional_special_tokens") or () if isinstance(one, str)]
    missing = [one for one in [*named, *others] if tokenizer.token_to_id(one) is None]
    wrong += [f"{CONFIG} names {', '.join(missing)}, which {TOKENIZER} does not have"] if missing else []
    added, configured = tokenizer.get_added_tokens_decoder(), config.get("added_tokens_decoder") or {}
    differ = [id for id, given in configured.items() if _is_other(added.get(int(id)), given)]
    wrong += [f"{CONFIG} has other tokens than {TOKENIZER}: {', '.join(differ[:20])}"] if differ else []
    if wrong:
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", "; ".join(wrong), entry.id)


def _is_other(token: AddedToken | None, given: dict[str, Any]) -> bool:
    known = {"content": given["content"], **{name: given[name] for name in FLAGS if name in given}}
    return any(getattr(token, name, None) != value for name, value in known.items())


def write_bundle(files: dict[str, bytes], folder: Path) -> bool:
    """Make the folder hold these files; False if it did.

    A reader in between finds no manifest, and so no bundle.
    """
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
