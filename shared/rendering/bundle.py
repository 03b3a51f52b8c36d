"""A base model's tokenizer bundle: `tokenizer.json`, `tokenizer_config.json`, chat template; a model's folder is one
too. One that is kept apart has `bundle.json`, which is written last: without it a bundle is not whole."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import orjson
from pydantic import Field
from tokenizers import Tokenizer

from shared.domain.blank import BLANK
from shared.domain.catalog import BaseModelEntry, TemplateArguments, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.model import Lenient
from shared.domain.upgrades import read_file
from shared.rendering.template import DAY, ChatTemplate, Span

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
SAMPLE = "zqaqz"  # no word of any template, and nothing that one trims or escapes
_SCHEMA = {"name": SAMPLE, "description": SAMPLE, "parameters": {"type": "object", "properties": {}}}
_TOOL = {"type": "function", "function": _SCHEMA}
_CALLED = {"id": "call00000", "function": {"name": SAMPLE, "arguments": {}}, "type": "function"}
_CALL = {"role": "assistant", "content": "", "tool_calls": [_CALLED]}
# Every part of a format that says the same on every machine; another refuses what is rendered, here and when served.
_PARTS = (*(f"%-{one}" for one in "dHIjmMSy"), *(f"%{one}" for one in "aAbBcCdDeFfgGhHIjkmMpRSTuUVwWxXyYzZ"))
_REPLACED = "".join(f" | replace('{part}', '{DAY.strftime(part)}')" for part in _PARTS)
_STRFTIME_NOW = (
    f"{{% macro strftime_now(format) %}}{{% set day = format{_REPLACED} %}}"
    "{% if '%' in day %}{{ raise_exception('strftime_now knows no ' + day) }}{% endif %}{{ day }}{% endmacro %}\n"
)
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class Bundle:
    """Tokenizer and chat template of a base model. Threads may share it."""

    tokenizer: Tokenizer
    template: ChatTemplate
    named_tokens: Mapping[str, str]

    @classmethod
    def of(cls, tokenizer_json: str, template: str, named_tokens: Mapping[str, str]) -> "Bundle":
        """From the texts; the token that ends a turn becomes a special one, so that no answer is shown with it. Raises
        PermanentFailure of class recipe: `no_chat_template`, `invalid_chat_template`, `no_pad_token`."""
        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        named = {name: named_tokens[name] for name in NAMED if named_tokens.get(name)}
        if "eos_token" in named:
            named.setdefault("pad_token", named["eos_token"])  # the trainer pads with it, and saves it so
        if "pad_token" not in named:
            raise _refusal("no_pad_token", "the tokenizer of the base model names neither an eos_token nor a pad_token")
        if not template:
            raise _refusal("no_chat_template", "the base model has no chat template")
        try:
            bundle = cls(tokenizer, ChatTemplate(template, named), named)
        except jinja2.TemplateError as error:
            raise _refusal("invalid_chat_template", f"the chat template cannot be read: {error}") from error
        for end in bundle.turn_ends:
            leave_out(tokenizer, end)
        return bundle

    @cached_property
    def added(self) -> frozenset[int]:
        """Ids of the tokens that are no part of the vocabulary that was trained."""
        return frozenset(self.tokenizer.get_added_tokens_decoder())

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Tokens that are no text: the tokenizer's special ones and those that the template itself writes."""
        literals = self.template.literals()
        added = self.tokenizer.get_added_tokens_decoder().values()
        return tuple(
            token.content
            for token in added
            if token.special or (token.content in literals and not token.content.isspace())
        )

    @cached_property
    def end_tokens(self) -> tuple[str, ...]:
        """Tokens that can end a turn: generation stops at tokens that the tokenizer calls special."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return (*self._eos, *(token.content for token in added if token.special))

    @cached_property
    def turn_ends(self) -> tuple[int, ...]:
        """Ids of the tokens that the template ends an answer and a call with: not every base stops there by itself."""
        answer, call = (
            self.dialogue("user", role).removesuffix(self.trailer).rstrip() for role in ("assistant", "call")
        )
        ends = [[token for token in {*self.special_tokens, *self._eos} if answer.endswith(token)]]
        ends += [[token for token in self.end_tokens if call.endswith(token)]]
        ids = [self.tokenizer.token_to_id(max(tokens, key=len)) for tokens in ends if tokens]
        return tuple(id for id in dict.fromkeys(ids) if id is not None)

    @cached_property
    def trailer(self) -> str:
        """A token after the last answer alone, where one before it has ended the turn: the eos_token of Phi-3."""
        last, earlier = self.dialogue("user", "assistant"), self.dialogue("user", "assistant", "user")
        for token in {*self.special_tokens, *self._eos}:
            rest = last.removesuffix(token)
            ended = rest.rstrip().endswith(self.special_tokens)
            if ended and earlier.startswith(rest) and not earlier.startswith(last):
                return token
        return ""

    @cached_property
    def answer_opening(self) -> str:
        """What asking for an answer writes and no answer has, such as the mark that begins a thought."""
        prompt, before = self.dialogue("user", ask=True), self.dialogue("user", "assistant").rpartition(SAMPLE)[0]
        return prompt.removeprefix(before) if before and prompt.startswith(before) else ""

    def dialogue(self, *roles: str, ask: bool = False) -> str:
        """A dialogue in which each says `SAMPLE`, or makes a `call`; empty if the template refuses it."""
        messages = [_CALL if role == "call" else {"role": role, "content": SAMPLE} for role in roles]
        try:
            return self.template.render(messages, [_TOOL] if "call" in roles else None, ask=ask)
        except Exception:  # a template may raise anything
            return ""

    @property
    def _eos(self) -> tuple[str, ...]:
        return (self.named_tokens["eos_token"],) if "eos_token" in self.named_tokens else ()

    def says_nothing(self, text: str, span: Span) -> bool:
        """Whether a stretch of a rendered text is nothing but tokens and blanks."""
        return self._nothing.fullmatch(text, *span) is not None

    @cached_property
    def _nothing(self) -> re.Pattern[str]:
        tokens = sorted({*self.special_tokens, *self._eos}, key=len, reverse=True)
        return re.compile("(?:" + "|".join([*map(re.escape, tokens), f"[{re.escape(BLANK)}]"]) + ")*+")

    @cached_property
    def opening(self) -> str:
        """What the tokenizer itself puts before plain text: its first token in most models, nothing in others."""
        ids = self.tokenizer.encode("", add_special_tokens=True).ids
        end = self.named_tokens.get("eos_token", "")
        return str(self.tokenizer.decode(ids, skip_special_tokens=False)).removesuffix(end)

    @cached_property
    def sha256(self) -> str:
        """Hash of all that decides how a row is read; equal for validator, trainer and a saved model folder."""
        tokenizer = orjson.loads(self.tokenizer.to_str())
        del tokenizer["truncation"], tokenizer["padding"]
        parts = {"tokenizer": tokenizer, "template": self.template.text, "named": dict(self.named_tokens)}
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @cached_property
    def template_sha256(self) -> str:
        """Hash of the chat template, compared between validation, training and serving."""
        return hashlib.sha256(self.template.text.encode()).hexdigest()


def read_bundle(read: Callable[[str], bytes | None], arguments: TemplateArguments = {}) -> Bundle:  # noqa: B006
    """The bundle whose files `read` gives by name, None for one that is not there; `arguments` of its chat template.
    Raises PermanentFailure of class recipe: `no_tokenizer`, `multiple_chat_templates`, and as `Bundle.of`."""
    tokenizer, config = read(TOKENIZER), orjson.loads(read(CONFIG) or b"{}")
    if tokenizer is None:
        raise _refusal("no_tokenizer", f"the tokenizer bundle has no {TOKENIZER}")
    named = {name: _content(config.get(name)) for name in NAMED}
    return Bundle.of(tokenizer.decode(), with_arguments(_template(read(TEMPLATE), config), arguments), named)


def read_bundle_folder(folder: Path, arguments: TemplateArguments = {}) -> Bundle:  # noqa: B006
    """The bundle in a folder; see `read_bundle`."""
    return read_bundle(files_in(folder), arguments)


def with_arguments(template: str, arguments: TemplateArguments) -> str:
    """The template with these values where a request gives none, and `DAY` on every day: so saved, all ask alike."""
    values = ((name, json.dumps(value)) for name, value in sorted(arguments.items()))
    lines = _STRFTIME_NOW if "strftime_now" in template else ""
    lines += "".join(f"{{% set {name} = {name} if {name} is defined else {value} %}}\n" for name, value in values)
    return template if not template or template.startswith(lines) else lines + template


def leave_out(tokenizer: Tokenizer, id: int | None) -> None:
    """Make a token a special one, which decoding leaves out."""
    if id is not None and (token := tokenizer.get_added_tokens_decoder().get(id)):
        token.special = True
        tokenizer.add_special_tokens([token])


def files_in(folder: Path) -> Callable[[str], bytes | None]:
    """Reads a folder's files by name; None for one that is not there."""
    return lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None


def _content(token: Any) -> str:
    """A token stands in the configuration as text or as an object with its content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _template(file: bytes | None, config: dict[str, Any]) -> str:
    text = file.decode() if file is not None else config.get("chat_template") or ""
    if not isinstance(text, str):
        message = "the base model has several chat templates; keep the one to tune with"
        raise _refusal("multiple_chat_templates", message)
    return text


def _refusal(code: str, message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, code, message, "base_model")


MANIFEST = "bundle.json"
_LICENSE_FILE = re.compile(r"(licen[cs]e|notice|copying|use_policy)(?![a-z]).*", re.IGNORECASE)


class BundleManifest(Lenient):
    """What the bundle is and of which model. The hashes are `Bundle.sha256` and `Bundle.template_sha256`."""

    base_model: str = Field(description="catalog id")
    asset: str | None = Field(description="URI it was exported from")
    license: str
    obligations: tuple[str, ...] = Field(description="what the license asks of the model's user")
    sha256: str
    template_sha256: str
    special_tokens: tuple[str, ...]
    template_arguments: TemplateArguments = {}
    files: dict[str, str] = Field(description="SHA-256 of each file by its name")
    license_files: dict[str, str] = Field(default={}, description="the same of license files in the model's folder")


def export_bundle(entry: BaseModelEntry, folder: Path) -> dict[str, bytes]:
    """The bundle's files by name, of a model's folder, the manifest last. Raises as `read_bundle` does."""
    names = (TOKENIZER, CONFIG, TEMPLATE)
    files = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    bundle = read_bundle(files.get, entry.template_arguments)
    manifest = BundleManifest(
        base_model=entry.id,
        asset=entry.asset,
        license=entry.terms.id,
        obligations=entry.terms.obligations,
        sha256=bundle.sha256,
        template_sha256=bundle.template_sha256,
        special_tokens=bundle.special_tokens,
        template_arguments=entry.template_arguments,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        license_files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in license_files(folder)},
    )
    return {**files, MANIFEST: manifest.model_dump_json(indent=2).encode()}


def license_files(folder: Path) -> list[Path]:
    """Those of a model's folder, which go with copies of the model."""
    return sorted(file for file in folder.iterdir() if file.is_file() and _LICENSE_FILE.fullmatch(file.name))


def read_exported(read: Callable[[str], bytes | None]) -> Bundle | None:
    """The exported bundle whose files `read` gives by name; None if it does not exist or is incomplete. Raises
    PermanentFailure of class recipe: `tokenizer_damaged` if its files are not those of its manifest."""
    manifest = read_manifest(read(MANIFEST))
    if manifest is None:
        return None
    files = {name: read(name) for name in manifest.files}
    for name, sha256 in manifest.files.items():
        if hashlib.sha256(files[name] or b"").hexdigest() != sha256:
            again = f"import {manifest.base_model} again"
            message = f"{name} of the tokenizer bundle is not the one that was exported: {again}"
            raise PermanentFailure(FailureClass.RECIPE, "tokenizer_damaged", message, "base_model")
    return read_bundle(files.get, manifest.template_arguments)


def read_kept(read: Callable[[str], bytes | None], base_model: str) -> Bundle:
    """An exported bundle, or the model's own folder where nothing was exported. Raises as both readers do."""
    return read_exported(read) or read_bundle(read, find_entry(base_model).template_arguments)


def read_manifest(content: bytes | None) -> BundleManifest | None:
    """Manifest of `bundle.json`; None if it does not exist."""
    return read_file(BundleManifest, content) if content is not None else None
