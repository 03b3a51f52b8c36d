"""The pages of `droptune review` and `droptune rate` in a real browser, served by the command itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Browser
from tests.browser.sample_runs import HOSTILE
from tests.browser.test_dashboard import SHOWN_HOSTILE
from tests.paths import ROOT

pytestmark = pytest.mark.ci
Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command; gives the address that it prints. At the end Ctrl-C ends each."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "cli", *arguments]
        # A shell starts what is in its background with SIGINT ignored, and these tests may run there.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout
        return started[-1].stdout.readline().split()[0]

    yield run
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode == 130


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Browser]:
    driver.set_window_size(1280, 900)
    found = Browser(driver)
    found.console_messages()
    yield found
    driver.get("about:blank")


def press(page: Browser, *keys: str) -> None:
    """Keys one after the other, each once the page shows what the one before it led to."""
    for key in keys:
        before = shown(page)
        ActionChains(page.driver).send_keys(key).perform()
        page.until(partial(lambda seen: shown(page) != seen, before), key)


def shown(page: Browser) -> str:
    return str(page.one("body").get_attribute("innerText"))


def rows(count: int) -> str:
    def row(number: int) -> dict[str, Any]:
        turns = {"system": "You sort notes.", "user": f"Note {number}: {HOSTILE}", "assistant": f"urgent {HOSTILE}"}
        return {"messages": [{"role": role, "content": text} for role, text in turns.items()], "ward": f"B{number}"}

    return "".join(json.dumps(row(number)) + "\n" for number in range(1, count + 1))


def test_rows_are_accepted_corrected_rejected_skipped_and_taken_back_by_keys(
    page: Browser, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text(rows(5))
    page.open(start("review", str(file), "--reviewer", "Ana"))
    page.shows("#progress", "0 of 5")
    assert [each.text for each in page.all("#row h2")] == ["system", "user", "answer", "Fields"]
    assert page.text("#row .answer p") == f"urgent {SHOWN_HOSTILE}"
    assert page.text("#row .beside dd") == "B1"
    press(page, "a", "e")
    page.one("#text").clear()
    page.one("#text").send_keys("routine")
    page.one("#text").send_keys(Keys.CONTROL, Keys.ENTER)
    page.shows("#progress", "2 of 5")
    press(page, "r")
    page.one("#text").send_keys(Keys.ENTER)
    page.shows("#problem", "a rejection needs a reason")
    page.one("#text").send_keys("wrong ward", Keys.ENTER)
    page.shows("#progress", "3 of 5")
    press(page, "s", "a", "u", "u")
    page.shows("#progress", "3 of 5")
    page.shows("#row .beside", "B4")
    assert page.script("return window.broken") is None
    errors = [each for each in page.console_messages() if "422" not in each]
    assert errors == []
    page.open(start("review", str(file), "--reviewer", "Ana"))
    page.shows("#progress", "3 of 5")
    page.shows("#row .beside", "B4")
    press(page, "a", "a")
    page.shows("#row", "Every row is decided.")
    lines = [json.loads(line) for line in (tmp_path / "train.review.jsonl").read_text().splitlines()]
    made = ["accepted", "corrected", "rejected", "skipped", "accepted", "undone", "undone", "accepted", "accepted"]
    assert [line["decision"] for line in lines] == made
    assert (lines[1]["answer"], lines[2]["reason"]) == ("routine", "wrong ward")


def test_two_answers_are_rated_by_keys_without_names(page: Browser, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    answers = {"candidate": "Close the valve.", "base": f"Open it. {HOSTILE}"}
    line = {"scores": {"candidate": 1, "base": 0}, "prompt": "What first?", "answers": answers}
    file.write_text("".join(json.dumps({"row": number, **line}) + "\n" for number in range(1, 5)))
    page.open(start("rate", str(file), "--reviewer", "Ana"))
    page.shows("#progress", "0 of 4")
    assert [each.text for each in page.all("#row h2")] == ["prompt", "A", "B"]
    body = str(page.one("body").get_attribute("innerHTML"))
    assert "candidate" not in body
    assert "base" not in body
    press(page, "a", "b", "t", "x")
    page.shows("#row", "Every row is decided.")
    assert page.script("return window.broken") is None
    assert page.console_messages() == []
    ratings = [json.loads(line) for line in (tmp_path / "rows.ratings.jsonl").read_text().splitlines()]
    assert [rating["decision"] for rating in ratings] == ["A", "B", "tie", "both_bad"]
    assert {rating["preferred"] for rating in ratings} <= {"candidate", "other", "tie", "both_bad"}
