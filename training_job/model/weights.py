"""Are a folder's weights those of the model of its `config.json`? transformers only logs what it misses or does not
know. Names and shapes are of its own conversion of the files' headers; no weight is loaded. Import only with torch."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from shared.domain.errors import FailureClass, PermanentFailure
from training_job.model.base_folder import weight_files

NAMED = 3  # of each kind


def require_weights(folder: Path, param: str = "base_model") -> None:
    """Raises PermanentFailure of class recipe, `base_model_unfit`, unless each weight is there with its shape and no
    other is, and what is read of them is finite: each vector, and of each matrix the first row."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    heads, odd = {}, []
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_slice(name)
                heads[name] = torch.empty(shape := tensor.get_shape(), device="meta")
                odd += [] if (tensor[:1] if len(shape) > 1 else tensor[:]).float().isfinite().all() else [name]
    # What `from_pretrained` of a folder does, with tensors that have a shape and no content in place of its files.
    options = {"device_map": {"": "meta"}, "output_loading_info": True, "ignore_mismatched_sizes": True}
    of_type: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    found = of_type.from_pretrained(None, config=config, state_dict=heads, **options)[1]
    shapes = [f"{name} {list(file)} in place of {list(model)}" for name, file, model in found["mismatched_keys"]]
    kinds = {"missing": found["missing_keys"], "unexpected": found["unexpected_keys"], "of another shape": shapes}
    kinds["with NaN or infinity"] = odd
    wrong = [f"{len(of)} {kind}, as {', '.join(sorted(of)[:NAMED])}" for kind, of in kinds.items() if of]
    if wrong:
        message = f"its weights are not those of its config.json: {'; '.join(wrong)}"
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", message, param)
