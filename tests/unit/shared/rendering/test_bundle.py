"""A tokenizer and its chat template, as files."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path

import jinja2
import pytest
from tokenizers import Tokenizer

from shared.rendering.bundle import Bundle, read_bundle_folder, with_arguments
from shared.rendering.rows import render_row
from shared.rendering.template import ChatTemplate
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS
from tests.unit.shared.rendering.support import refused, with_template


def test_threads_may_share_a_bundle() -> None:
    bundle = families.bundle("qwen", marked=True)
    expected = {name: render_row(bundle, row) for name, (row, _) in ROWS.items()}
    wrong: list[str] = []

    def work(name: str) -> None:
        for _ in range(100):
            if render_row(bundle, ROWS[name][0]) != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ROWS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_missing_from_a_bundle_is_said(tmp_path: Path) -> None:
    assert refused(tmp_path).problem.code == "no_tokenizer"
    folder = families.write("qwen", tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    assert refused(folder).problem.code == "no_chat_template"
    (folder / "chat_template.jinja").write_text("{% for %}")
    assert refused(folder).problem.code == "invalid_chat_template"
    (folder / "chat_template.jinja").unlink()
    several = {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}
    (folder / "tokenizer_config.json").write_text(json.dumps(several))
    assert refused(folder).problem.code == "multiple_chat_templates"


def test_a_template_inside_the_configuration_and_tokens_as_objects_are_read(tmp_path: Path) -> None:
    folder = families.write("llama3", tmp_path / "base")
    text = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    named = {name: {"content": token, "special": True} for name, token in families.NAMED["llama3"].items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, "chat_template": text}))
    assert read_bundle_folder(folder).sha256 == families.bundle("llama3", marked=True).sha256


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("eos", ["<|endoftext|>", None])
@pytest.mark.parametrize("family", families.TEMPLATES)
def test_the_token_that_ends_an_answer_follows_from_the_template_whatever_ends_a_document(
    family: str, eos: str | None, marked: bool
) -> None:
    of_family = families.bundle(family, marked=marked)
    named = families.NAMED[family] | ({"eos_token": eos} if eos and family == "qwen" else {})
    bundle = Bundle.of(of_family.tokenizer.to_str(), of_family.template.text, named)
    assert bundle.turn_ends == (bundle.tokenizer.token_to_id(families.END[family]),)


def test_no_answer_is_shown_with_the_token_that_ends_it_whatever_the_tokenizer_calls_it() -> None:
    for family, end in families.END.items():
        document = json.loads(families.tokenizer(family).to_str())
        for token in document["added_tokens"]:
            token["special"] = token["special"] and token["content"] != end
        named = {**families.NAMED[family], "eos_token": "<s>", "pad_token": "<s>"}
        text = families.template(family, marked=True).replace("eos_token", f"'{end}'")
        bundle = Bundle.of(json.dumps(document), text, named)
        assert bundle.turn_ends, family
        ids = bundle.tokenizer.encode(f"A bolt.{end}", add_special_tokens=False).ids
        assert (ids[-1], bundle.tokenizer.decode(ids)) == (*bundle.turn_ends, "A bolt."), family
        marked = Bundle.of(families.tokenizer(family).to_str(), text, named)
        assert bundle.sha256 == marked.sha256, family


def test_a_base_without_a_token_to_pad_with_is_refused(tmp_path: Path) -> None:
    folder = families.write("qwen", tmp_path / "base")
    for named in ({}, {"bos_token": "<|im_start|>"}, {"eos_token": "", "pad_token": None}):
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
        assert refused(folder).problem.code == "no_pad_token"
    for name in ("eos_token", "pad_token"):
        (folder / "tokenizer_config.json").write_text(json.dumps({name: "<|im_end|>"}))
        assert read_bundle_folder(folder).named_tokens["pad_token"] == "<|im_end|>"


def test_a_template_has_its_arguments_where_a_request_gives_none() -> None:
    text = "\n{{ thinks }}{% for m in messages %}{{ level + m.content + (note or '') }}{% endfor %}"
    arguments: dict[str, bool | int | str] = {"thinks": False, "level": 'é"\\n{{%}', "note": "3"}
    written = with_arguments(text, arguments)
    assert written == with_arguments(written, arguments)
    assert with_arguments(text, {}) == text
    rendered = ChatTemplate(written, {}).render([{"role": "user", "content": "a"}])
    assert rendered == '\nFalseé"\\n{{%}a3'


@pytest.mark.parametrize(
    "form",
    ["%d %b %Y", "%B %d, %Y", "%Y-%m-%d", "%A, %-d.%-m.%y %T", "%F %D %I %p", "%-I:%M %Z%c %x", "%j %e %G-W%V %f"],
)
def test_a_template_that_writes_the_day_writes_the_same_one_wherever_it_is_rendered(form: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    text = (
        "{% macro day() %}{{ strftime_now(format='%s') }}{% endmacro %}"
        "{% if strftime_now is defined %}{{ day() }}{% endif %}{{ messages[0]['content'] }}"
    ).replace("%s", form)
    written = with_arguments(text, {"thinks": True})
    messages = [{"role": "user", "content": "!"}]
    assert written == with_arguments(written, {"thinks": True})
    assert with_arguments(with_arguments(text, {}), {}) == with_arguments(text, {})
    served = render_jinja_template([messages], chat_template=written)[0]
    expected = f"{datetime(2024, 7, 26).strftime(form)}!"  # noqa: DTZ001
    assert [served[0], ChatTemplate(written, {}).render(messages), ChatTemplate(text, {}).render(messages)] == [
        expected
    ] * 3


@pytest.mark.parametrize("form", ["%s", "100 %", "%%d", "%E", "%-A"])
def test_a_format_that_is_not_of_the_list_is_refused_here_and_when_served(form: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    written = with_arguments(f"{{{{ strftime_now('{form}') }}}}{{{{ messages }}}}", {})
    with pytest.raises(jinja2.TemplateError, match=r"strftime_now knows no .*%"):
        ChatTemplate(written, {}).render([])
    with pytest.raises(jinja2.TemplateError, match=r"strftime_now knows no .*%"):
        render_jinja_template([[]], chat_template=written)


CALL_ENDS = {
    "llama3": "<|reserved_special_token_0|>",
    "mistral": "[/TOOL_CALLS]",
    "phi": "<|endoftext|>",
    "qwen": "<|endoftext|>",
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("family", families.TEMPLATES)
def test_the_token_that_ends_a_call_ends_a_turn_too(family: str, marked: bool) -> None:
    """As Llama 3.1's `<|eom_id|>` and the `<|call|>` of gpt-oss."""
    end = CALL_ENDS[family]
    core = Tokenizer.from_str(families.tokenizer(family).to_str())
    core.add_special_tokens([end])
    head, found, text = families.template(family, marked=marked).partition("message['role'] == 'assistant'")
    of_answers = families.END[family]
    for name in (f"'{of_answers}'", "eos_token"):
        text = text.replace(f"{{{{- {name} -}}}}", f"{{{{- '{end}' if message.tool_calls else {name} -}}}}")
    bundle = Bundle.of(core.to_str(), head + found + text, families.NAMED[family])
    assert bundle.turn_ends == tuple(core.token_to_id(token) for token in (of_answers, end))


def test_a_call_that_ends_with_a_part_of_its_text_ends_no_turn() -> None:
    text = families.template("qwen", marked=True).replace(
        "{{- '<|im_end|>' -}}", "{{- '' if message.tool_calls else '<|im_end|>' -}}"
    )
    bundle = Bundle.of(families.tokenizer("qwen").to_str(), text, families.NAMED["qwen"])
    assert bundle.turn_ends == (bundle.tokenizer.token_to_id("<|im_end|>"),)


def test_a_template_may_end_answers_with_no_token() -> None:
    assert with_template("{{ messages[1]['content'] }}").turn_ends == ()
