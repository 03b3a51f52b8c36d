"""The dashboard in a real browser, over the real app."""

from __future__ import annotations

import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from functions.http import auth
from shared.domain.errors import Transient
from shared.domain.graders import Citation
from shared.domain.jobs import MetricPoint
from shared.domain.recipe import Reinforcement, Supervised
from shared.domain.run import Run, Status
from shared.ports import Write
from shared.records import runs
from shared.runner import Runner
from tests.browser import sample_runs
from tests.browser.conftest import Browser, Stack
from tests.browser.sample_runs import HOSTILE
from tests.paths import ROOT
from tests.unit.shared.support import events_at

SHOWN_HOSTILE = HOSTILE.replace("\u202e", "U+202E")

STATIC = ROOT / "functions" / "http" / "static"


def run_url(stack: Stack, run: Run) -> str:
    return f"{stack.server.url}/#/runs/{run.id}"


def training_run(
    stack: Stack, number: int = 0xF1, steps: int = 181, method: Supervised | Reinforcement = Supervised()
) -> Run:
    parts = {**sample_runs.planned("claims", method), **sample_runs.trained(number)}
    run = sample_runs.write(
        stack.services, sample_runs.new_run(number, "claims", Status.TRAINING, minutes_ago=14, **parts)
    )
    sample_runs.write_report(
        stack.services, run, sample_runs.REPORT.model_copy(update={"passed": True, "problems": ()})
    )
    stack.log_curve(run, sample_runs.curve(steps))
    return run


def listed(browser: Browser) -> list[str]:
    return [" ".join(each.text.split("\n")[:2]) for each in browser.all("#runs a")]


def settled(browser: Browser) -> None:
    """Everything a finished run's page asks for has come."""
    for part in ("timeline", "verdict", "samples", "report", "deployment"):
        browser.one(f"#part-{part}")
    browser.one("#part-curve .curve.train")


# The files


def test_every_part_has_its_type_an_etag_and_a_strict_policy(stack: Stack) -> None:
    with httpx.Client(base_url=stack.server.url) as http:
        for path, kind in {
            "/": "text/html",
            "/static/app.js": "text/javascript",
            "/static/style.css": "text/css",
        }.items():
            answer = http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].split(";")[0] == kind
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'; ")
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            weak = http.get(path, headers={"if-none-match": f'"other", W/{answer.headers["etag"]}'})
            assert (weak.status_code, weak.content) == (304, b"")
        for path in ("/static/gone.js", "/static/..%2fdashboard.py"):
            gone = http.get(path)
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")


def test_the_page_loads_every_file_there_is(browser: Browser, stack: Stack) -> None:
    browser.open(stack.server.url)
    browser.one("#main h1")
    loaded = {address.rsplit("/", 1)[-1] for address in browser.requests() if "/static/" in address}
    assert loaded == {file.name for file in STATIC.iterdir()} - {"index.html"}


def test_no_file_names_another_host_or_makes_markup_of_text() -> None:
    for file in STATIC.iterdir():
        text = file.read_text()
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        assert "localStorage" not in text
        assert " style=" not in text
        for address in text.split("://")[1:]:
            # Names of XML, of Azure's own token audience, and of schemes compared with; none is fetched.
            assert address.startswith(("www.w3.org/2000/svg", "ml.azure.com", '")')), (file.name, address[:40])


# The list


def test_runs_are_listed_newest_first_and_filtered_and_the_filter_survives_a_reload(
    browser: Browser, stack: Stack, claims: Run
) -> None:
    for run in (sample_runs.failed(1), sample_runs.rejected(2)):
        sample_runs.write(stack.services, run)
    browser.open(stack.server.url)
    browser.until(lambda: len(browser.all("#runs a")) == 3 or None)
    assert listed(browser) == ["claims deployed", "invoices failed", "contracts rejected"]
    assert all(each.find_elements(By.CSS_SELECTOR, "svg.icon") for each in browser.all("#runs .status"))
    Select(browser.one("#status")).select_by_value("failed")
    browser.until(lambda: listed(browser) == ["invoices failed"] or None)
    browser.driver.refresh()
    browser.until(lambda: listed(browser) == ["invoices failed"] or None)
    Select(browser.one("#status")).select_by_value("")
    browser.one("#project").send_keys("contracts", Keys.ENTER)
    browser.until(lambda: listed(browser) == ["contracts rejected"] or None)
    browser.one("#project").send_keys("-no", Keys.ENTER)
    browser.shows("#no-runs", "No run matches the filter.")
    assert browser.console_messages() == []


def test_a_run_that_cannot_be_read_is_listed_below_the_others_until_it_is_repaired(
    browser: Browser, stack: Stack, claims: Run
) -> None:
    broken = sample_runs.write(stack.services, sample_runs.failed(1))
    document = runs.document_of(broken)
    spoiled = {**document, "run": {**document["run"], "cost": "much"}}
    stack.services.store.batch(broken.id, [Write("replace", runs.RUN, spoiled)])
    browser.open(stack.server.url)
    browser.shows("#runs .unreadable", broken.id)
    assert listed(browser) == ["claims deployed"]
    assert f"droptune dlq release {broken.id}" in browser.one("#runs .unreadable").text
    answer = httpx.post(f"{stack.server.url}/api/dead-letters/release", json={"partition": broken.id, "id": "run"})
    assert answer.status_code == 200
    browser.until(lambda: listed(browser) == ["claims deployed", "invoices failed"] or None)
    assert browser.all("#runs .unreadable") == []


def test_what_a_timer_fails_at_stands_on_the_runs_page_until_it_works(browser: Browser, stack: Stack) -> None:
    run, runner = training_run(stack), Runner(stack.services)
    runner.note_timer(run.id, "probe_deployments", f"down: {HOSTILE}")
    browser.open(run_url(stack, run))
    browser.shows("#part-attention", f"down: {SHOWN_HOSTILE}")
    runner.note_timer(run.id, "probe_deployments", None)
    browser.until(lambda: not browser.driver.find_element(By.ID, "part-attention").is_displayed() or None)


def test_the_filter_knows_every_status(browser: Browser, stack: Stack) -> None:
    browser.open(stack.server.url)
    options = Select(browser.one("#status")).options
    assert {each.get_attribute("value") for each in options} == {"", *Status}


def test_older_runs_come_page_by_page(browser: Browser, stack: Stack) -> None:
    for number in range(45):
        sample_runs.write(
            stack.services, sample_runs.new_run(number, f"p{number:02}", Status.CANCELLED, minutes_ago=number)
        )
    browser.open(stack.server.url)
    for expected in (20, 40, 45):
        browser.until(lambda: len(browser.all("#runs a")) == expected or None, f"{expected} runs")  # noqa: B023
        if expected < 45:
            browser.one("#older").click()
    assert not browser.all("#older")[0].is_displayed()
    assert [each.split()[0] for each in listed(browser)] == [f"p{number:02}" for number in range(45)]


def test_without_runs_the_page_says_how_to_start_one(browser: Browser, stack: Stack) -> None:
    browser.open(stack.server.url)
    browser.shows("main", "Drop a dataset to start a run")
    browser.shows("main", "droptune drop train.jsonl")
    assert browser.console_messages() == []


# A run


def test_a_run_is_reached_from_the_list_and_survives_a_reload(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(stack.server.url)
    browser.one("#runs a").send_keys(Keys.ENTER)
    settled(browser)
    assert browser.driver.current_url == run_url(stack, claims)
    browser.driver.refresh()
    settled(browser)
    assert browser.driver.title.startswith("claims: deployed")


def test_a_deployed_run_shows_way_verdict_curve_and_endpoint(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(run_url(stack, claims))
    settled(browser)
    stages = [each.text for each in browser.all(".timeline .stage b")]
    assert stages == ["received", "validated", "training", "evaluating", "approved", "deploying", "deployed"]
    browser.shows(".timeline", "10 % of the traffic")
    browser.shows("#part-verdict", "The gate is passed")
    assert [each.text for each in browser.all("#part-verdict td.score")] == [
        "0.514",
        "0.811",
        "0.872",
        "+0.358",
        "+0.061",
    ]
    assert len(browser.all("#part-verdict svg.interval")) == 5
    browser.shows("#part-verdict .checks", "Better than the model in production")
    assert len(browser.all("#part-slices svg rect")) == 15
    assert browser.all(".curve.selection path")
    browser.shows("#part-curve .diagnosis", "mild overfit")
    command = browser.text("#part-deployment pre")
    assert "'https://claims.westeurope.inference.ml.azure.com/v1/chat/completions'" in command
    assert '"Authorization: Bearer $TOKEN"' in command
    browser.shows("#part-cost", "1.41 USD")
    browser.shows("#part-settings", "twice the rank")
    browser.shows("#part-license", 'Ship the agreement and the NOTICE text, and show "Built with Llama".')
    browser.shows("#part-license", "nobody has accepted it yet")
    browser.shows("#part-report .policy", "Version 7 of the policy: 1 of the settings limited")
    assert not [each for each in browser.all("#cancel") if each.is_displayed()]
    assert browser.console_messages() == []


def test_words_that_differ_from_the_wanted_answer_are_marked(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(run_url(stack, claims))
    settled(browser)
    first = browser.all(".samples li")[0]
    marked = {
        key: [each.text for each in first.find_elements(By.CSS_SELECTOR, f".answer.{key} mark")]
        for key in ("champion", "candidate")
    }
    assert marked == {"champion": ["300"], "candidate": []}


def test_hostile_text_is_text(browser: Browser, stack: Stack, claims: Run) -> None:
    rejected = sample_runs.write(stack.services, sample_runs.rejected(2))
    sample_runs.write_report(stack.services, rejected, sample_runs.REPORT)
    failed = sample_runs.write(stack.services, sample_runs.failed(3))
    for run, part in ((claims, "#part-samples"), (rejected, "#part-report"), (failed, "#part-error")):
        browser.open(run_url(stack, run))
        browser.shows(part, SHOWN_HOSTILE)
        assert browser.script("return window.broken") is None
        assert not browser.all("main img, main script")
    assert browser.console_messages() == []


def test_the_error_of_a_failed_run_is_shown_whole(browser: Browser, stack: Stack) -> None:
    browser.open(run_url(stack, sample_runs.write(stack.services, sample_runs.failed(3))))
    for words in ("code", "loss_is_nan", "the loss is not a number at step 7", "learning_rate"):
        browser.shows("#part-error", words)


def test_the_report_groups_problems_with_rows_and_fix(browser: Browser, stack: Stack) -> None:
    run = sample_runs.write(stack.services, sample_runs.rejected(2))
    sample_runs.write_report(stack.services, run, sample_runs.REPORT)
    browser.open(run_url(stack, run))
    browser.one("#part-report .problems")
    assert [each.text for each in browser.all("#part-report .severity")] == ["error", "warning"]
    browser.shows("#part-report", "rows 2, 17, 31 …")
    browser.shows("#part-report", "Fix: end each row with the answer to learn")


def requests(browser: Browser, part: str) -> int:
    """How many requests of the page with this part of a URL were answered."""
    names = "performance.getEntriesByType('resource').map(each => each.name)"
    return int(browser.script(f"return {names}.filter(name => name.includes(arguments[0])).length", part))


def test_a_training_run_moves_as_it_is_watched(browser: Browser, stack: Stack) -> None:
    run = training_run(stack)
    browser.open(run_url(stack, run))
    browser.shows("#part-curve .progress", "step 181 of 450 (40 %), 20 min 51 s left")
    browser.one(".curve.train")
    stack.log_curve(run, [{"key": "eta_s", "value": 90, "step": 430, "timestamp": 1_800_000_000_000}])
    browser.shows("#part-curve .progress", "step 430 of 450 (96 %), 90 s left")
    parts = {**sample_runs.planned("claims"), **sample_runs.trained(0xF1)}
    moved = sample_runs.new_run(0xF1, "claims", Status.EVALUATING, minutes_ago=14, **parts)
    sample_runs.write(stack.services, moved)
    browser.shows("#part-head .status", "evaluating")
    assert requests(browser, "?wait_s=") > 0, "an answer that waits for the change"
    browser.until(lambda: True if not browser.all("#part-curve .progress") else None)


def test_the_curve_is_read_with_mouse_and_keyboard_on_either_axis(browser: Browser, stack: Stack) -> None:
    browser.open(run_url(stack, training_run(stack)))
    browser.one(".curve.train")
    browser.shows(".readout", "step 181")
    plot = browser.one(".plot")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(browser.driver).move_to_element(plot).perform()
    browser.until(lambda: browser.all(".cursor circle.train") or None)
    assert browser.text(".readout .at") != "step 181"
    plot.send_keys(Keys.HOME)
    browser.shows(".readout .at", "step 1")
    plot.send_keys(Keys.ARROW_RIGHT)
    browser.shows(".readout .at", "step 3")
    linear = browser.one(".curve.train path").get_attribute("d")
    log = next(each for each in browser.all(".toggle button") if each.text == "log")
    log.click()
    assert log.get_attribute("aria-pressed") == "true"
    assert browser.one(".curve.train path").get_attribute("d") != linear
    plot.send_keys(Keys.HOME)
    polls = requests(browser, "/metrics")
    browser.until(lambda: requests(browser, "/metrics") > polls + 1 or None, "two polls")
    assert browser.script("return document.activeElement.className") == "plot"
    browser.shows(".readout .at", "step 1")


def test_a_reinforcement_run_shows_its_rewards_above_the_loss(browser: Browser, stack: Stack) -> None:
    cites = Citation(name="cites", type="citation", pattern=r"§ (\d+)", reference="{{item.rules}}")
    run = training_run(stack, method=Reinforcement(type="reinforcement", graders=(cites,)))
    for key, start in (("reward", 0.2), ("eval_reward", 0.25)):
        points = [{"key": key, "value": start + step / 300, "step": step, "timestamp": step} for step in range(1, 181)]
        stack.log_curve(run, points)
    browser.open(run_url(stack, run))
    browser.one(".curve.train")
    browser.until(lambda: len(browser.all("#part-curve .readout")) == 2 or None)
    rewards, losses = (each.text.replace("\n", " ") for each in browser.all("#part-curve .readout"))
    assert rewards.startswith("step 180 train 0.8 selection 0.85 rate")
    assert losses.startswith("step 181 train")
    pictured = [each.get_attribute("aria-label") for each in browser.all("#part-curve svg[role=img]")]
    assert pictured[0] == "train reward from 0.203 to 0.8; selection reward from 0.253 to 0.85"
    assert (pictured[1] or "").startswith("train loss from ")


def test_what_is_no_number_is_left_out_of_the_curve(browser: Browser, stack: Stack) -> None:
    browser.open(stack.server.url)
    kept = browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "import('/static/chart.js').then(({points}) => done(points([[3, 1], [1, 9], [2, null], [1, 2], [4, 'x']])));"
    )
    assert kept == [[1, 2], [3, 1]]


def test_the_keyboard_jumps_past_the_list_and_stays_on_the_run(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(run_url(stack, claims))
    settled(browser)
    browser.script("document.querySelector('.skip').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.script("return document.activeElement.id") == "main"
    assert browser.driver.current_url == run_url(stack, claims)


def test_an_unknown_run_is_said(browser: Browser, stack: Stack) -> None:
    browser.open(f"{stack.server.url}/#/runs/run-000000000000")
    browser.shows("main", "run_not_found: no run run-000000000000")


# Cancel


def test_cancel_asks_first_and_then_asks_the_api(browser: Browser, stack: Stack) -> None:
    run = training_run(stack)
    browser.open(run_url(stack, run))
    browser.one("#cancel").click()
    browser.shows("#confirm-text", run.id)
    assert browser.script("return document.activeElement.id") == "confirm-no"
    browser.one("#confirm-no").click()
    assert events_at(stack.services, "cancel_run") == []
    browser.one("#cancel").click()
    browser.one("#confirm-yes").click()
    browser.shows("#part-head", "Cancel asked for")
    (event,) = events_at(stack.services, "cancel_run")
    assert event.run_id == run.id


# When things are away


def test_an_api_that_is_down_is_said_and_its_return_is_noticed(browser: Browser, stack: Stack) -> None:
    run = training_run(stack)
    browser.open(run_url(stack, run))
    browser.one("#cancel")
    stack.server.stop()
    browser.shows("#connection", "The API does not answer")
    browser.shows("#part-head .status", "training")
    stack.server.start()
    browser.until(lambda: browser.all("#connection")[0].text == "" or None, "the API is back")
    parts = {**sample_runs.planned("claims"), **sample_runs.trained(0xF1)}
    sample_runs.write(stack.services, sample_runs.new_run(0xF1, "claims", Status.EVALUATING, minutes_ago=14, **parts))
    browser.shows("#part-head .status", "evaluating")


def test_a_platform_that_does_not_answer_is_not_taken_for_the_api(browser: Browser, stack: Stack, claims: Run) -> None:
    def refuse(key: str) -> list[MetricPoint]:
        raise Transient("azure_ml_unreachable", "nothing answers there")

    stack.curves.of = refuse
    browser.open(run_url(stack, claims))
    browser.shows("#part-curve", "azure_ml_unreachable: nothing answers there")
    browser.one("#part-samples")
    assert browser.all("#connection")[0].text == ""


# Who may look


def test_a_token_is_asked_for_and_kept_in_the_tab_only(browser: Browser, stack: Stack, claims: Run) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer = "https://login.example/11111111-2222-3333-4444-555555555555/v2.0"
    entra = auth.EntraAuth(issuer, "api://droptune", lambda _: key.public_key())
    stack.server.authenticator = entra
    tenant = issuer.split("/")[3]
    claimed = {"iss": issuer, "aud": "api://droptune", "tid": tenant, "sub": "ada", "roles": ["reader"]}
    browser.open(run_url(stack, claims))
    browser.shows("#token", "needs an Entra access token")
    browser.one("#token-field").send_keys(jwt.encode({**claimed, "exp": 1}, key, algorithm="RS256"), Keys.ENTER)
    browser.shows("#token", "The token was refused: invalid_token")
    good = jwt.encode({**claimed, "exp": time.time() + 60}, key, algorithm="RS256")
    browser.one("#token-field").send_keys(f"Bearer {good}", Keys.ENTER)
    settled(browser)
    assert not browser.all("#token")[0].is_displayed()
    assert browser.script("return [localStorage.length, document.cookie]") == [0, ""]
    browser.one("#forget").click()
    browser.shows("#token", "needs an Entra access token")
    assert not browser.all("#runs a")


# The page as a whole


def test_no_request_leaves_the_origin(browser: Browser, stack: Stack, claims: Run) -> None:
    browser.open(run_url(stack, claims))
    settled(browser)
    requests = [each for each in browser.requests() if not each.startswith(("about:", "data:", "chrome"))]
    assert len(requests) > 8
    assert {each for each in requests if not each.startswith(f"{stack.server.url}/")} == set()


def test_the_browser_itself_refuses_markup_made_of_text(browser: Browser, stack: Stack) -> None:
    browser.open(stack.server.url)
    browser.one("#runs, .empty")
    refused = browser.script("try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (e) { return e.name }")
    assert refused == "TypeError"


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(browser: Browser, stack: Stack, claims: Run, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.open(run_url(stack, claims))
        settled(browser)
        assert browser.script("return document.documentElement.scrollWidth") <= width
        phone = width < 500
        assert browser.all("#list")[0].is_displayed() is not phone
        if phone:
            browser.one(".back").click()
            browser.one("#runs a")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
