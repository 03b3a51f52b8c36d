"""What is in the texts of one row."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from shared.domain.recipe import Data
from tests.unit.shared.validation.content.scanned import Scan, row, scanned


def test_personal_data_is_replaced_in_every_message_and_in_tool_calls() -> None:
    scan = Scan(Data(personal_data="redact"))
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "send", "arguments": '{"to": "anna@example.com", "card": 4111111111111111}'},
    }
    messages = row("I am anna@example.com", "Sent.", tool_calls=[call])
    document = scan.row(1, "train", messages, id="078-05-1120", n=4)
    redacted = document["messages"]
    assert redacted[0]["content"] == "I am [EMAIL_1]"
    arguments = json.loads(redacted[1]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"to": "[EMAIL_1]", "card": "[CARD_1]"}
    assert messages[0]["content"] == "I am anna@example.com"
    assert document["item"] == {"id": "[SSN_1]", "n": 4}
    assert set(scan.found()) == {"personal_data_redacted"}


def test_a_reviewed_kind_stays_and_the_others_go() -> None:
    scan = Scan(Data(personal_data="redact", personal_data_allowed=("email",)))
    read = scan.row(1, "train", row("a@b.com, SSN 078-05-1120", "ok"))
    assert read["messages"][0]["content"] == "a@b.com, SSN [SSN_1]"
    assert set(scan.found()) == {"personal_data_allowed", "personal_data_redacted"}


def test_what_is_of_a_reviewed_kind_is_not_taken_for_another_and_replaced() -> None:
    scan = Scan(Data(personal_data="redact", personal_data_allowed=("date_of_birth",)))
    text = "The patient (DOB 12/03/1958) was admitted on 3 March 2021."
    read = scan.row(1, "train", row(text, "ok"))
    assert read["messages"][0]["content"] == "The patient (DOB 12/03/1958) was admitted on [DATE_1]."
    assert set(scan.found()) == {"personal_data_allowed", "personal_data_redacted"}


def test_a_secret_blocks_unless_allowed() -> None:
    rows = [row("AKIA" + "ABCDEFGHIJKLMNOP", "thanks")]
    assert scanned(rows)["secret"].severity == "error"
    assert scanned(rows, Data(secrets="allow"))["secret_allowed"].severity == "warning"


def test_secrets_are_replaced_by_a_placeholder_that_is_no_secret() -> None:
    scan = Scan(Data(secrets="redact"))
    question = (
        "key AKIA" + "ABCDEFGHIJKLMNOP, Server=x;Database=d;Password=" + "hunter22; postgres://a:" + "hunter22@h/d"
    )
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nbye"
    read = scan.row(1, "train", row(question, key))["messages"]
    assert read[0]["content"] == "key [SECRET], Server=x;Database=d;Password=[SECRET]; postgres://a:[SECRET]@h/d"
    assert read[1]["content"] == "[SECRET]\nbye"
    assert set(scan.found()) == {"secret_redacted"}
    again = Scan()
    again.row(1, "train", read)
    assert again.found() == {}


def test_a_row_without_anything_comes_back_as_it_is() -> None:
    scan = Scan(Data(personal_data="redact"))
    messages = row("How is the pump?", "Fine.")
    assert scan.row(1, "train", messages)["messages"] is messages
    assert scan.found() == {}


@pytest.mark.few_cases(2)
@pytest.mark.parametrize(
    "piece",
    [
        "1 ",
        "01 02 ",
        "0044 20 71",
        "a@b.",
        "anna@example.com, ",
        "call 12345678 ",
        "4111 1111 1111 1111 ",
        "sk-T3Blbk" + "FJ",
        "aeiou",
    ],
)
def test_a_hostile_row_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """Processor time, with room for a busy machine: what grows with the square takes ten times this."""
    text = piece * (200_000 // len(piece))
    scan = Scan(Data(personal_data="redact"), bits=8)
    started = time.thread_time()
    scan.row(1, "train", row(text, "ok"))
    assert time.thread_time() - started < 5


def test_a_finding_names_the_field_that_holds_the_value_where_it_is_not_in_the_messages() -> None:
    phone, sound = "212-736-5000", row("Why?", "So.")
    scan = Scan()
    scan.row(1, "train", sound, note="none", contact=phone)
    scan.row(2, "train", row(f"Call {phone}", "So."), meta={"home": {"phone": phone}})
    scan.row(3, "train", row(f"Call {phone}", "So."), ward="B")
    named: dict[str, Any] = {"Maria Keller 0815 4711": phone}
    scan.row(4, "train", sound, **named)
    assert scan.found()["personal_data"].parts == (
        "contact",
        "messages and meta",
        "",
        "fields whose names are not shown",
    )
    dated = Scan()
    for number in range(8):
        dated.row(number + 1, "train", row("The patient was admitted with pain on 3 March 2021.", "So."))
    dated.row(9, "train", sound, seen="2021-03-03")
    assert dated.found()["clinical_date"].parts == ("seen",)


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        *(("part_no", "0450 123 400", False), ("Order number", "800-555-1000", False), ("lot", "0123-4000-77", False)),
        *(("contact", "0450 123 400", True), ("part_no", "+49 30 901820", True), ("part_no", "Ann 212-736-5000", True)),
        *(("order_contact_no", "212-736-5000", True), ("order_no", "4111 1111 1111 1111", True)),
    ],
)
def test_a_field_that_is_named_for_the_number_of_a_thing_holds_no_telephone_number(
    field: str, value: str, found: bool
) -> None:
    for policy in ("block", "redact"):
        scan = Scan(Data(personal_data=policy))
        item: dict[str, Any] = {field: value, "ward": "B"}
        read = scan.row(1, "train", row("Why?", "So."), **item)
        assert (bool(scan.found()), read["item"][field] == value) == (found, not found or policy == "block")
