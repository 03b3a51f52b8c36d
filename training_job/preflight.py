"""Is a base trained, merged and loaded as transformers does it? Asked of a shrunk copy, before any GPU."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, TokenizersBackend

from shared.domain.beside import read_beside
from shared.domain.catalog import BaseModelEntry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.rendering.bundle import read_bundle_folder
from shared.rendering.check import LengthPolicy
from training_job.data.chat_rows import Encoded, encode_file
from training_job.data.selection import EncodedData
from training_job.job.runtime import classify
from training_job.job.setup import Setup
from training_job.methods import supervised
from training_job.methods.step import model_of, trained_tokens
from training_job.model import quantized
from training_job.model.artifacts import prompt_of
from training_job.model.generation import generate

SMALLEST: dict[str, int] = read_beside(__file__)
VOCABULARY, NAMED, WINDOW, CAP, LIMIT = 512, 3, SMALLEST["sliding_window"], 2.0, 1e-3
# Ratios of heads are kept, as is each head's size.
HEADS = (("num_attention_heads", "num_key_value_heads"), ("linear_num_value_heads", "linear_num_key_heads"))
ROWS = Path(__file__).with_suffix(".jsonl")
TEMPLATE = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"


@dataclass(frozen=True)
class Preflight:
    """What was found. `difference`: of loss or gradients from transformers'; `bare`: weights without an adapter."""

    rows: str
    difference: float
    adapted: tuple[str, ...]
    bare: tuple[str, ...]


def preflight(entry: BaseModelEntry, folder: Path) -> Preflight:
    """Raises PermanentFailure of class recipe, `base_model_unfit`, which names the step that failed."""
    with tempfile.TemporaryDirectory() as place, torch.random.fork_rng():
        with _named("rows", entry):
            rows = _rows(entry, folder)
        with _named("copy", entry):
            setup = _copy(entry, folder, Path(place), len(rows), max(len(row.input_ids) for row in rows))
        with _named("step", entry):
            reference, found = _step(setup, rows)
        with _named("merge", entry):
            merged = _merged(setup, reference, rows)
        with _named("save", entry):
            before = _logits(merged, rows)
            quantized.save_merged(merged, setup.tokenizer, setup.output / "model" / "merged")
        with _named("load", entry):
            loaded = quantized.load_model(setup.output / "model" / "merged", torch.float32)
            _require_same(before, _logits(loaded, rows))
        with _named("generate", entry):
            _generate(setup, loaded, rows)
    return found


@contextlib.contextmanager
def _named(step: str, entry: BaseModelEntry) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if classify(error).failure_class not in (FailureClass.CODE, FailureClass.RECIPE, FailureClass.DATA):
            raise
        found = error.problem.message if isinstance(error, PermanentFailure) else f"{type(error).__name__}: {error}"
        message = f"preflight, {step}: {found}"
        raise PermanentFailure(FailureClass.RECIPE, "base_model_unfit", message, entry.id) from error


def _rows(entry: BaseModelEntry, folder: Path) -> list[Encoded]:
    """As the base's template and tokenizer have them, with ids that the copy embeds."""
    bundle = read_bundle_folder(folder, entry.template_arguments)
    encoded = encode_file(ROWS, bundle, LengthPolicy(entry.context_tokens, "reject")).rows

    def small(ids: list[int]) -> list[int]:
        return [id if id < 0 else id % (VOCABULARY - NAMED) + NAMED for id in ids]

    return [replace(row, input_ids=small(row.input_ids), labels=small(row.labels)) for row in encoded]


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration in small: so many layers from the first that each kind is among them."""
    layers = config["num_hidden_layers"]
    listed = {key: list(of) for key, of in config.items() if isinstance(of, list | tuple) and len(of) == layers}
    kinds = list(zip(*(of for of in listed.values() if len(set(of)) < layers), strict=True))
    kept = max([2, config.get("first_k_dense_replace", 0) + 1, *(kinds.index(kind) + 1 for kind in kinds)])
    small = {key: min(config[key], least) for key, least in SMALLEST.items() if config.get(key)}
    for many, few in HEADS:
        if config.get(few):
            small[few] = min(2, config[few])
            small[many] = small[few] * min(2, config[many] // config[few])
    small |= {key: CAP for key, of in config.items() if "softcap" in key and of}
    small |= {key: 0.0 for key in config if key.endswith(("dropout", "pdrop"))}
    small |= {key: of[:kept] for key, of in listed.items()}
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if head * config["num_attention_heads"] == config["hidden_size"]:
        small["hidden_size"] = head * small["num_attention_heads"]
    named = {"vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    return {**config, "num_hidden_layers": min(layers, kept), "head_dim": head, "dtype": "float32", **small, **named}


def _copy(entry: BaseModelEntry, folder: Path, place: Path, rows: int, row_tokens: int) -> Setup:
    """The small base, a tokenizer for what it saves, and the settings that a run would have, in float32."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(type(config).from_dict(shrunk(config.to_dict())))
    with torch.no_grad():
        for weight in model.parameters():  # nothing stays 0 or 1, which would hide what it does
            weight += 0.1 * torch.randn_like(weight) if weight.ndim == 1 else -weight
            if weight.ndim > 1:
                weight += torch.randn_like(weight) * weight.shape[-1] ** -0.5
    model.save_pretrained(place / "copy")
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, **{f"word{n}": n for n in range(NAMED, VOCABULARY)}}
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<pad>"}
    tokenizer = TokenizersBackend(tokenizer_object=Tokenizer(WordLevel(words, "<pad>")), **named)
    tokenizer.chat_template = TEMPLATE
    recipe = resolve(Recipe(base_model=entry.id), "preflight", train_rows=rows, characters_max=1)
    steady = {"compute_dtype": "float32", "sharding": "none", "lora_rank": 4}
    steady |= {"batch_size": rows, "max_length_tokens": row_tokens}
    recipe = recipe.model_copy(update={"hyperparameters": recipe.hyperparameters.model_copy(update=steady)})
    return Setup(place / "copy", place, recipe, tokenizer, 1, rows)


def _step(setup: Setup, rows: list[Encoded]) -> tuple[PeftModel, Preflight]:
    """A step of the trainer, and the same adapter on a model that transformers computes the loss of, row by row."""
    trainer = supervised.build(setup, EncodedData(rows, rows))
    model = model_of(trainer)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        for weight in trained.values():  # half of them begin as 0, and the gradients of the others with them
            weight.copy_(torch.randn_like(weight) * 0.05)
    loss = float(trainer.training_step(model, next(iter(trainer.get_train_dataloader()))))
    model.save_pretrained(str(setup.output / "model" / "adapter"))
    base = quantized.load_model(setup.base_model, setup.dtype, quantize=setup.quantize, attention="eager")
    reference = quantized.attach(base, setup.output / "model" / "adapter", train_with=setup.hyperparameters).train()
    expected = 0.0
    for row in rows:
        ids, labels = (torch.tensor([of], device=reference.device) for of in (row.input_ids, row.labels))
        part = reference(input_ids=ids, labels=labels, use_cache=False).loss * trained_tokens([row])
        (part / trained_tokens(rows)).backward()
        expected += float(part.detach()) / trained_tokens(rows)
    differences = {"loss": abs(loss - expected) / expected}
    theirs = {name: weight.grad for name, weight in reference.named_parameters() if weight.grad is not None}
    least = 0.01 * max(float(gradient.norm()) for gradient in theirs.values())
    for name, weight in trained.items():
        if weight.grad is None or name not in theirs:
            raise ValueError(f"{name} has no gradient")
        differences[name] = float((weight.grad - theirs[name]).norm() / theirs[name].norm().clamp(min=least))
    worst = max(differences, key=differences.__getitem__)
    if not differences[worst] <= LIMIT:
        raise ValueError(f"{worst} differs from transformers' own by {differences[worst]:.1e}; loss {loss}, {expected}")
    adapted = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    bare = {
        re.sub(r".*\.\d+\.", "", name)
        for name, weight in model.get_base_model().named_parameters()
        if weight.ndim > 1 and ".layers." in name and ".lora_" not in name and ".base_layer." not in name
    }
    rows_as = "packed" if quantized.packs(setup.base_model) else "plain"
    return reference, Preflight(rows_as, differences[worst], tuple(sorted(adapted)), tuple(sorted(bare)))


def _merged(setup: Setup, reference: PeftModel, rows: list[Encoded]) -> PreTrainedModel:
    """What the adapter on its base is, then rounded as it is saved."""
    adapter = setup.output / "model" / "adapter"
    merged = quantized.merge_adapter(setup.base_model, adapter, setup.dtype, quantize=setup.quantize)
    _require_same(_logits(reference, rows), _logits(merged, rows))
    for tensor in merged.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.bfloat16())
    return merged


def _logits(model: PreTrainedModel | PeftModel, rows: list[Encoded]) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        ids = (torch.tensor([row.input_ids], device=model.device) for row in rows)
        return torch.cat([model(input_ids=one, use_cache=False).logits[0] for one in ids]).float()


def _require_same(expected: torch.Tensor, found: torch.Tensor) -> None:
    if not torch.allclose(found, expected, rtol=LIMIT, atol=LIMIT):
        raise ValueError(f"its logits are others than before by {(found - expected).abs().max():.1e}")


def _generate(setup: Setup, model: PreTrainedModel, rows: list[Encoded]) -> None:
    """Prompts in a batch, padded and with a cache: each token is what the whole text alone makes likeliest."""
    prompts = [prompt_of(row) for row in rows]
    answers = generate(model, setup.tokenizer, prompts, WINDOW)
    for row, prompt, answer in zip(rows, prompts, answers, strict=True):
        likely = _logits(model, [replace(row, input_ids=prompt + answer)])[len(prompt) - 1 : -1]
        chosen = torch.tensor(answer, device=likely.device)
        _require_same(likely.max(dim=1).values, likely.gather(1, chosen[:, None])[:, 0])
