"""An evaluation in a real browser: graders, slices, general ability, and the held-out rows one by one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from selenium.webdriver.remote.webelement import WebElement

from shared.domain import paths
from shared.domain.evaluation import GradedRow, JudgeUse, LabelRates, Share, wilson
from shared.domain.run import Run, Status
from tests.browser import sample_runs
from tests.browser.conftest import Browser, Stack
from tests.browser.test_dashboard import SHOWN_HOSTILE, run_url


def test_graders_slices_and_general_ability_stand_with_their_intervals(
    browser: Browser, stack: Stack, claims: Run
) -> None:
    browser.open(run_url(stack, claims))
    browser.one("#part-graders table")
    assert [each.text for each in browser.all("#part-graders tbody th")] == ["section", "tone", "tone.short"]
    assert [each.text for each in browser.all("#part-graders tbody tr:first-child td.number")] == [
        "0.610",
        "0.880",
        "0.930",
    ]
    assert len(browser.all("#part-graders tbody tr:first-child svg.interval")) == 3
    motor = browser.all("#part-slices li")[0].text
    assert "+0.082 [\u22120.018, +0.182] over production" in motor
    assert "\u22120.030 [\u22120.120, +0.060] over base" in browser.text("#part-general tbody tr:first-child")
    assert browser.console_messages() == []


def test_what_does_not_apply_is_shown_as_neither_passed_nor_failed(browser: Browser, stack: Stack) -> None:
    from shared.domain.evaluation import gate_verdict

    run = sample_runs.deployed(0xC2)
    assert run.evaluation is not None
    assert run.recipe is not None
    result = run.evaluation.model_copy(
        update={"general": run.evaluation.general[1:], "general_lacking": {"ability": 0.1}}
    )
    verdict = gate_verdict(result, run.recipe.requested.evaluation)
    sample_runs.write(stack.services, run.model_copy(update={"evaluation": result, "verdict": verdict}))
    browser.open(run_url(stack, run))
    browser.shows("#part-verdict .checks", "General ability kept")
    [check] = [each for each in browser.all("#part-verdict .checks li") if "General ability kept" in each.text]
    assert "not applicable: the base itself scores 0.100" in check.text
    assert check.find_elements("css selector", ".icon.ahead")
    browser.shows("#part-verdict .verdict", "The gate is passed")


def test_an_evaluation_has_a_page_of_its_own_with_its_rows(browser: Browser, stack: Stack, claims: Run) -> None:
    sample_runs.write_rows(stack.services, claims)
    browser.open(run_url(stack, claims))
    browser.one("#part-verdict .alone").click()
    browser.one("#part-rows .samples li")
    shown = [each.get_attribute("id") for each in browser.all("section") if each.is_displayed()]
    assert shown == ["part-head", "part-verdict", "part-graders", "part-slices", "part-general", "part-rows"]
    browser.driver.refresh()
    browser.one("#part-rows .samples li")
    assert [each.text for each in browser.all("#part-rows .filters button")] == [
        "Got worse 25",
        "Got better 2",
        "Stayed 3",
    ]
    assert len(browser.all("#part-rows .samples > li")) == 20
    browser.one("#part-rows .more").click()
    browser.until(lambda: len(browser.all("#part-rows .samples > li")) == 25 or None)
    assert browser.all("#part-rows .more") == []
    first = browser.all("#part-rows .samples > li")[0]
    assert "line_of_business = household" in first.text
    assert [each.text for each in first.find_elements("css selector", "h4")] == [
        "reference",
        "base 0.000\nsection 0.00, tone 0.00",
        "in production 1.000\nsection 1.00, tone 1.00",
        "tuned 0.500\nsection 0.50, tone 0.50",
    ]
    assert SHOWN_HOSTILE in browser.all("#part-rows .samples > li")[2].text
    assert browser.script("return window.broken") is None
    browser.all("#part-rows .filters button")[1].click()
    browser.until(lambda: len(browser.all("#part-rows .samples > li")) == 2 or None)
    browser.one("#part-verdict .whole").click()
    browser.one("#part-timeline")
    assert not browser.all("#part-rows")[0].is_displayed()
    assert browser.console_messages() == []


def test_rows_that_are_gone_are_said_to_be(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(f"{run_url(stack, claims)}/evaluation")
    browser.shows("#part-rows", "no_evaluation: the rows of this evaluation are not there")


def test_a_slice_that_fell_is_marked_with_its_interval(browser: Browser, stack: Stack) -> None:
    parts = {**sample_runs.planned("claims"), **sample_runs.trained(3), **sample_runs.evaluated("claims", better=False)}
    run = sample_runs.new_run(3, "claims", Status.DECLINED, minutes_ago=9, **parts)
    sample_runs.write(stack.services, run)
    browser.open(run_url(stack, run))
    browser.one("#part-slices")
    worse = [each.text for each in browser.all("#part-slices li.worse")]
    assert len(worse) == 1
    assert "liability" in worse[0]
    assert "\u22120.147 [\u22120.247, \u22120.047] over production" in worse[0]


def test_on_a_phone_the_page_is_no_wider_than_the_screen(browser: Browser, stack: Stack, claims: Run) -> None:
    sample_runs.write_rows(stack.services, claims)
    browser.driver.set_window_size(420, 900)
    browser.open(f"{run_url(stack, claims)}/evaluation")
    browser.one("#part-rows .samples li")
    wider = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    inside, screen = browser.script(wider)
    assert inside <= screen
    numbers = [each.rect["y"] for each in browser.all("#part-graders tbody tr:first-child td.number")]
    assert len(set(numbers)) == 1


def test_a_judge_is_named_and_its_reasons_and_the_rows_it_left_out_are_shown(browser: Browser, stack: Stack) -> None:
    run = sample_runs.deployed(0xC7)
    assert run.evaluation is not None
    use = JudgeUse(endpoint="judge-70b", deployment="blue", model="big:7", requests=241, cached=120)
    result = run.evaluation.model_copy(update={"judges": (use,), "unscored": 1})
    sample_runs.write(stack.services, run.model_copy(update={"evaluation": result}))
    answers = {"base": "no", "candidate": "yes"}
    worse = GradedRow(
        row=1,
        scores={"base": 1.0, "candidate": 0.5},
        answers=answers,
        reasons={"candidate": {"tone": "curt, <b>but</b> right"}},
    )
    scores = {"base": 1.0, "candidate": None}
    left_out = GradedRow(row=2, scores=scores, sub_scores={"candidate": {"a": None, "b": 1}}, answers=answers)
    lines = b"".join(orjson.dumps(row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in (worse, left_out))
    stack.services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [lines])
    browser.open(run_url(stack, run))
    browser.shows("#part-graders .judge", "Judge judge-70b/blue of big:7: 241 requests, 120 opinions")
    browser.shows("#part-verdict caption", "; 1 more have no score from the judge and count for no model")
    browser.one("#part-verdict .alone").click()
    browser.shows("#part-rows .samples li", "tone: curt, <b>but</b> right")
    buttons = browser.all("#part-rows .filters button")
    assert [each.text for each in buttons] == [
        "Got worse 1",
        "Got better 0",
        "Stayed 0",
        "Not scored by the judge 1",
    ]
    buttons[3].click()
    browser.shows("#part-rows .samples li", "row 2")
    browser.shows("#part-rows .samples li .answer.candidate h4", "a \u2013, b 1.00")
    browser.shows("#part-rows .samples li .answer.candidate .row-score", "\u2013")


def of(hits: int, rows: int) -> Share:
    low, high = wilson(hits, rows)
    return Share(hits=hits, rows=rows, low=low, high=high)


def rates_of(seen: int, spared: int) -> tuple[LabelRates, ...]:
    urgent = LabelRates(grader="triage", label="urgent", sensitivity=of(seen, 20), specificity=of(spared, 160))
    return (urgent, LabelRates(grader="triage", label="<b>none</b>", sensitivity=None, specificity=of(180, 180)))


@pytest.mark.parametrize("champion", [True, False], ids=["a champion", "no champion"])
def test_sensitivity_specificity_and_pairs_stand_by_model_with_their_intervals(
    champion: bool, browser: Browser, stack: Stack, claims: Run
) -> None:
    rates = {"base": rates_of(9, 120), "candidate": rates_of(19, 152)}
    pairs = {"base": of(3, 30), "candidate": of(29, 30)}
    if champion:
        rates["champion"], pairs["champion"] = rates_of(15, 140), of(24, 30)
    open_with(browser, stack, claims, rates=rates, pairs=pairs)
    of_labels, of_pairs = browser.until(lambda: browser.all("#part-graders table")[1:] or None)
    assert "sensitivity and specificity of each label, with its 95 % Wilson interval" in of_labels.text
    assert "agreement of counterfactual pairs, without the names, with its 95 % Wilson interval" in of_pairs.text

    def in_production(text: str) -> list[str]:
        return [text] if champion else []

    shown = [[cell.text for cell in row.find_elements("css selector", "th, td.number")] for row in lines(of_labels)]
    assert shown == [
        [
            "triage urgent\nsensitivity",
            "0.450\n0.258 to 0.658\n9 of 20",
            *in_production("0.750\n0.531 to 0.888\n15 of 20"),
            "0.950\n0.764 to 0.991\n19 of 20",
        ],
        [
            "triage urgent\nspecificity",
            "0.750\n0.678 to 0.811\n120 of 160",
            *in_production("0.875\n0.815 to 0.918\n140 of 160"),
            "0.950\n0.904 to 0.974\n152 of 160",
        ],
        ["triage <b>none</b>\nspecificity", *["1.000\n0.979 to 1.000\n180 of 180"] * len(rates)],
    ]
    heads = [each.text for each in of_labels.find_elements("css selector", "thead th[scope=col]")]
    assert heads == ["grader and label", "base", *in_production("in production"), "tuned", ""]
    [line] = lines(of_pairs)
    assert line.find_element("css selector", "td.candidate").text == "0.967\n0.833 to 0.994\n29 of 30"
    assert len(line.find_elements("css selector", "svg.interval[aria-hidden=true]")) == len(pairs)
    assert browser.console_messages() == []


@pytest.mark.parametrize(
    "empty",
    [{}, {"rates": {"base": (), "candidate": ()}, "pairs": {"base": None, "candidate": None}}],
    ids=["none measured", "no such rows"],
)
def test_a_report_without_labels_and_pairs_has_no_table_of_them(
    empty: dict[str, Any], browser: Browser, stack: Stack, claims: Run
) -> None:
    open_with(browser, stack, claims, **empty)
    browser.one("#part-graders table")
    assert len(browser.all("#part-graders table")) == 1
    assert browser.console_messages() == []


def open_with(browser: Browser, stack: Stack, run: Run, **measured: Any) -> None:
    assert run.evaluation is not None
    result = run.evaluation.model_copy(update=measured)
    sample_runs.write(stack.services, run.model_copy(update={"evaluation": result}))
    browser.open(run_url(stack, run))


def lines(table: WebElement) -> list[WebElement]:
    return table.find_elements("css selector", "tbody tr")
