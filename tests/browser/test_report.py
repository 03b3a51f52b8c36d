"""The validation report in a real browser: on the run's page and on a page of its own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.domain import paths
from shared.domain.catalog import find_entry
from shared.domain.run import Run
from shared.ports import Services
from shared.rendering.bundle import export_bundle
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate
from tests.browser import sample_runs
from tests.browser.conftest import Browser, Stack
from tests.browser.sample_runs import HOSTILE
from tests.browser.test_dashboard import SHOWN_HOSTILE, run_url
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS, message


@pytest.fixture
def with_rows(stack: Stack, claims: Run, tmp_path: Path) -> Run:
    """The deployed run, with the rows it trained on and its base model's tokenizer."""
    assert claims.curated is not None
    hostile = {"messages": [message("user", HOSTILE), message("assistant", f"No. {HOSTILE}")]}
    rows = [ROWS["tool call and its result"][0], ROWS["first answer has weight 0"][0], hostile]
    text = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    stack.services.blobs.write(paths.curated(claims.curated, "train.jsonl"), [text])
    return claims


def place_tokenizer(services: Services, folder: Path) -> None:
    entry = find_entry(sample_runs.BASE_MODEL)
    for name, content in export_bundle(entry, families.write("llama3", folder)).items():
        services.blobs.write(f"{entry.tokenizer}{name}", [content])


def test_rows_are_shown_as_the_model_reads_them_when_asked_for(
    browser: Browser, stack: Stack, with_rows: Run, tmp_path: Path
) -> None:
    place_tokenizer(stack.services, tmp_path / "bundle")
    browser.open(run_url(stack, with_rows))
    summary = browser.one("#part-report .preview summary")
    assert not any("/preview" in address for address in browser.requests())
    summary.click()
    browser.shows("#part-report .preview h4", "train row 1: loss on")
    learned = [each.text for each in browser.all("#part-report .preview li mark")]
    assert learned == [
        '{"name": "stock", "parameters": {"part": "bolt Zürich"}}<|eot_id|>',
        "Twelve are in stock.<|eot_id|>",
        "No, a bolt.<|eot_id|>",
        f"No. {SHOWN_HOSTILE}<|eot_id|>",
    ]
    assert "A nut.<|eot_id|>" in browser.all("#part-report .preview pre")[1].text
    assert browser.script("return window.broken") is None
    assert browser.console_messages() == []


def test_a_preview_that_cannot_be_had_says_why(browser: Browser, stack: Stack, with_rows: Run) -> None:
    browser.open(run_url(stack, with_rows))
    browser.one("#part-report .preview summary").click()
    browser.shows("#part-report .preview", f"no_tokenizer: the tokenizer of {sample_runs.BASE_MODEL} is not here")


def test_the_report_has_a_page_of_its_own_that_survives_a_reload(browser: Browser, stack: Stack) -> None:
    run = sample_runs.write(stack.services, sample_runs.rejected(2))
    sample_runs.write_report(stack.services, run, sample_runs.REPORT)
    browser.open(run_url(stack, run))
    browser.one("#part-report .alone").click()
    browser.one("#part-report .whole")
    browser.driver.refresh()
    browser.one("#part-report .whole")
    shown = [each.get_attribute("id") for each in browser.all("section") if each.is_displayed()]
    assert shown == ["part-head", "part-report"]
    browser.one("#part-report .whole").click()
    browser.one("#part-timeline")


def counted() -> dict[str, Any]:
    """What the validator says of a file in which several things are wrong, tokens and rows to look at included."""
    words = (3, 5, 8, 13, 21, 34, 55, 20, 9, 400) * 12
    good = [{"question": f"Which part is {n}?", "answer": "bolt " * many} for n, many in enumerate(words)]
    bad = [{"question": "x"}, {"question": "y", "answer": 4}, {"question": "z", "answer": "a <|eot_id|> b"}]
    lines = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in [*good, *bad])
    with spooled_sink() as sink:
        found = validate(
            [b"\n", lines, b"{\n"],
            None,
            b"method: {hyperparameters: {max_length_tokens: 256}}\ndata: {over_length: drop}",
            project="claims",
            file_name="train.jsonl",
            default_base_model=sample_runs.BASE_MODEL,
            sink=sink,
            bundle_of=lambda _: families.bundle("llama3", marked=True),
            previews=2,
        )
    preview = [row.model_dump(mode="json") for row in found.preview]
    return {**found.report.model_dump(mode="json"), "preview": preview}


def by_severity(problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(problems, key=lambda one: (one["severity"] != "error", -one["count"]))


DRAW = """
const [report, done] = arguments;
import('/static/report.js').then(({ report: draw }) => {
  const body = document.querySelector('#part-report .body');
  body.replaceChildren(...draw({ run: { id: 'run-1', curated: null }, report }, () => {}));
  done(true);
});
"""


@pytest.mark.parametrize("width", [1280, 400])
def test_lengths_tokens_and_problems_are_drawn_where_a_report_has_them(
    browser: Browser, stack: Stack, claims: Run, width: int
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.open(f"{run_url(stack, claims)}/report")
        browser.one("#part-report .body")
        report = counted()
        browser.driver.execute_async_script(DRAW, report)
        captions = [each.text for each in browser.all("#part-report .bars caption")]
        assert captions == ["lengths", "characters per row", "messages per row"]
        bars = [str(each.get_attribute("width")) for each in browser.all("#part-report .bars rect")]
        drawn = (
            report["tokens"]["lengths"],
            *(report["statistics"][f"{name}_per_row"] for name in ("characters", "messages")),
        )
        assert [round(float(share.rstrip("%"))) for share in bars] == [
            round(100 * value / max(one["counts"])) for one in drawn for value in one["counts"]
        ]
        browser.shows("#part-report .tokens", "Rows of more than 256 tokens: drop;")
        browser.shows("#part-report .mapping", "question user")
        browser.shows("#part-report .not-searched", "names of persons, places, postal addresses.")
        languages = report["statistics"]["languages"]
        assert set(languages) == {"unknown", "en"}
        summary = ", ".join(f"{language} {rows}" for language, rows in languages.items())
        browser.shows("#part-report .languages", f"Languages: {summary}.")
        codes = [each.text for each in browser.all("#part-report .problems code")]
        assert codes == [problem["code"] for problem in by_severity(report["problems"])]
        places = [browser.one(css).location["y"] for css in (".tile", ".problems .bad", ".tokens", ".problems .warn")]
        assert places == sorted(places), "errors stand right below what would be learned"
        assert {"row_dropped", "special_token_in_text", "missing_field", "invalid_json", "blank_line"} <= set(codes)
        broken = next(one for one in report["problems"] if one["code"] == "invalid_json")
        browser.shows("#part-report .problems", f"rows {broken['rows'][0]} (byte {broken['offsets'][0]:,})")
        browser.one("#part-report .preview summary").click()
        browser.shows("#part-report .preview mark", "bolt bolt bolt")
        assert browser.script("return document.documentElement.scrollWidth") <= width
        assert browser.console_messages() == []
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


LABELS = ("urgent", "routine", "discharge")


def mixed() -> dict[str, Any]:
    """The report of a triage file as people have it: labels out of balance, copies, contradictions, more fields."""
    chance = random.Random(12)
    words = ("fever", "cough", "pain", "rash", "swelling", "cut", "burn", "bruise", "fall", "nausea", "headache")

    def note(count: int) -> str:
        return " ".join(chance.choices(words, k=count))

    def row(text: str, label: str, **more: Any) -> dict[str, Any]:
        messages = [
            message("system", f"Note: {text}"),
            message("user", "What is the triage?"),
            message("assistant", label),
        ]
        return {"messages": messages, "intent": chance.choice(("first visit", "follow-up")), **more}

    rows = [row(note(12), chance.choices(LABELS, (8, 3, 1))[0], clinic_note="x") for _ in range(300)]
    same = note(40)
    rows += [row(f"{same} {n}", "urgent") for n in range(4)]
    rows += [row("pain in the left arm since noon", label) for label in ("urgent", "routine")]
    rows += [row(note(1500), "routine"), rows[0]]
    rows[1]["approved"], rows[2]["approved"] = True, False
    recipe = (
        b"use_case: Sorts notes by urgency, for a nurse to check.\nintended_uses: []\nevaluation: {slices: [intent]}"
    )
    with spooled_sink() as sink:
        found = validate(
            [b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in rows) + b"\n"],
            None,
            recipe,
            project="claims",
            file_name="train.jsonl",
            default_base_model=sample_runs.BASE_MODEL,
            sink=sink,
        )
    return found.report.model_dump(mode="json")


@pytest.mark.parametrize("width", [1280, pytest.param(400, marks=pytest.mark.slow)])
def test_what_is_learned_held_out_and_ignored_and_what_to_read_comes_first(
    browser: Browser, stack: Stack, claims: Run, width: int
) -> None:
    report = mixed()
    assert report["passed"], report["problems"]
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.open(f"{run_url(stack, claims)}/report")
        browser.one("#part-report .body")
        browser.driver.execute_async_script(DRAW, report)
        counts = report["statistics"]
        tiles = [each.text.split("\n") for each in browser.all("#part-report .tile")]
        assert [tile[:2] for tile in tiles] == [
            ["Learned", f"{counts['train_rows']} rows"],
            ["Held out", f"{counts['eval_rows']} rows"],
            ["Ignored", "2 things"],
        ]
        assert tiles[1][2].startswith("split off the training rows (10 %);")
        assert tiles[2][2] == "field clinic_note (301), blank lines (1)"
        tables = [each.text for each in browser.all("#part-report .values")]
        assert [table.split("\n")[0] for table in tables] == ["Answers learned + held out", "Field intent"]
        for label in report["quality"]["labels"]:
            assert f"{label['value']}\n{label['train_rows']} + {label['eval_rows']}" in tables[0]
        near = report["quality"]["distance"]
        held_out, learned = (
            f"{near['eval_questions']} held-out questions",
            f"{near['train_questions']} training questions",
        )
        browser.shows("#part-report .distance", f"{held_out} beside {learned}: similarity to the nearest one 0.")
        read = [" ".join(each.text.split()) for each in browser.all("#part-report .to-read tr")]
        browser.shows("#part-report .body > p", "kinds of warning, listed below.")
        for line in (
            "May be marked as bad, and is learned 1 rows 3",
            "Same question, another answer",
            "Nearly the same text",
            "Far longer than the others",
        ):
            assert any(each.startswith(line) for each in read), read
        tops = [browser.one(css).location["y"] for css in (".tile", ".values", ".to-read", ".problems")]
        assert tops == sorted(tops)
        assert browser.script("return document.documentElement.scrollWidth") <= width
        assert browser.console_messages() == []
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
