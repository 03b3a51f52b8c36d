"""A seeded set of sentences with marked personal data and with numbers that only look like it.

The sentences are those of clinical notes, letters and maintenance logs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from tests.unit.shared.validation.content.values import (
    a_date,
    code_like,
    device_address,
    digits,
    email,
    european_phone,
    hash_text,
    iban_number,
    isbn,
    license_number,
    long_decimal,
    nhs_number,
    north_american_phone,
    order_number,
    part_number,
    passport_number,
    payment_card,
    public_ipv4,
    public_ipv6,
    reading,
    record_number,
    spaced_nhs_number,
    timestamp,
    us_ssn,
    version,
)


class Sample(NamedTuple):
    """`spans` are (kind, start, end) in characters of `text`."""

    text: str
    spans: tuple[tuple[str, int, int], ...]


Maker = Callable[[random.Random], str]


VALUES: dict[str, Maker] = {
    "payment_card": payment_card,
    "iban": iban_number,
    "us_ssn": us_ssn,
    "nhs_number": spaced_nhs_number,
    "phone": lambda chance: (north_american_phone if chance.random() < 0.4 else european_phone)(chance),
    "email": email,
    "ipv4": public_ipv4,
    "ipv6": public_ipv6,
    "medical_record_number": record_number,
    "date_of_birth": a_date,
    "clinical_date": lambda chance: a_date(chance, 2005, 2025),
    "passport": passport_number,
    "driving_license": license_number,
}
LABELED_VALUES: dict[str, Maker] = {
    "plain_nhs_number": nhs_number,
    "plain_ssn": lambda chance: us_ssn(chance).replace("-", chance.choice(["", " "])),
    "plain_phone": lambda chance: "07" + chance.choice("4578") + digits(chance, 8),
}
KIND_OF = {"plain_nhs_number": "nhs_number", "plain_ssn": "us_ssn", "plain_phone": "phone"}

SENTENCES: dict[str, tuple[str, ...]] = {
    "payment_card": (
        "Patient paid the co-pay with card {}.",
        "Please charge {} (exp 04/27) for the spare seals.",
        "Card number: {}, declined twice.",
        "Refund to {} has been issued.",
        "He read out {} over the phone.",
        "cc {} on file",
    ),
    "iban": (
        "Transfer the refund to {} by Friday.",
        "IBAN: {}",
        "Our account ({}) has changed.",
        "Paid from {}, reference claim 88.",
        "Standing order set up for {}. Thank you.",
    ),
    "us_ssn": (
        "SSN {}",
        "Her social security number is {}.",
        "Insured person {} confirmed by the plan.",
        "Identity checked ({}), forms signed.",
        "Claimant {} called again.",
    ),
    "plain_ssn": ("SSN: {}", "Social Security No. {} on the form.", "ssn {} verified"),
    "nhs_number": (
        "NHS number {}",
        "NHS No: {} referred by the GP.",
        "Referral for {} received from the surgery.",
        "{} - reviewed in clinic by Dr Shah.",
    ),
    "plain_nhs_number": ("NHS number {}", "NHS no. {}, seen today.", "NHS: {}"),
    "phone": (
        "Call the daughter on {}.",
        "Tel: {}",
        "Contact: {} (evenings).",
        "Reach the duty engineer at {} if the pump trips.",
        "My number is {}.",
        "Please ring {} before 5 pm.",
        "Fax {}",
        "{} is her new number.",
        "Phoned {}, no answer.",
    ),
    "plain_phone": ("Mobile {}", "Phone: {}", "Tel. {}", "call him on {}"),
    "email": (
        "Send the letter to {}.",
        "Contact {} for access.",
        "<{}> wrote:",
        "cc {}; discharge summary attached",
        "email: {}",
    ),
    "ipv4": (
        "Login from {} at night.",
        "The portal was opened from {}.",
        "Blocked {} after ten attempts.",
        "src={} dst=10.0.0.5",
        "Consent given from IP {}.",
    ),
    "ipv6": (
        "Login from {} at night.",
        "client {} connected",
        "Consent given from {}, recorded.",
        "[{}] session opened",
    ),
    "medical_record_number": (
        "MRN {}",
        "MRN: {}",
        "Medical record number {} reviewed.",
        "MRN# {} admitted overnight.",
        "Hospital number: {}",
        "Med rec no. {}",
    ),
    "date_of_birth": (
        "DOB {}",
        "DOB: {}",
        "Date of birth: {}",
        "Born on {} in Leeds.",
        "D.O.B. {}",
        "The claimant, born {}, lives alone.",
        "date of birth {}.",
    ),
    "clinical_date": (
        "Patient admitted on {} with chest pain.",
        "Patient discharged {} on aspirin 75 mg.",
        "The patient underwent surgery on {}.",
        "Seen in clinic on {}, diagnosis confirmed.",
        "Diagnosed {}; chemotherapy started on the ward.",
        "Biopsy on {} showed a carcinoma; patient informed.",
    ),
    "passport": (
        "Passport number {}",
        "Passport no. {} shown at reception.",
        "passport: {}",
        "Passport {} expires soon.",
    ),
    "driving_license": (
        "Driving licence {}",
        "Driver's license number: {}",
        "driver license no. {} checked",
        "Driving licence number {} on file.",
    ),
}

HARD: dict[Maker, tuple[str, ...]] = {
    part_number: (
        "Replaced part {} on line 3.",
        "P/N {} is out of stock.",
        "Part no. {} fitted, torque 40 Nm.",
        "Spare part number: {}",
        "SKU {} reordered.",
        "Serial number {} recorded.",
    ),
    order_number: (
        "Order {} shipped yesterday.",
        "Your order number is {}.",
        "Work order {} closed.",
        "Invoice {} is overdue.",
        "Ticket {} reopened.",
        "PO {} approved.",
        "Tracking number {}",
    ),
    version: (
        "Firmware {} installed on the drive.",
        "Upgraded to version {}.",
        "Driver {} crashes on boot.",
        "PLC runs build {}.",
        "software {} released",
        "Rolled back to release {}.",
    ),
    timestamp: (
        "[{}] pump P-101 tripped",
        "ts={} level=warn",
        "Alarm at {} cleared.",
        "event_time: {}",
        "Logged {} by operator 7.",
    ),
    isbn: ("See ISBN {} chapter 4.", "The manual, ISBN {}, is out of print.", "isbn={}"),
    long_decimal: ("Offset {} mm after calibration.", "The p-value was {}.", "Latitude {} recorded.", "ratio = {}"),
    hash_text: ("commit {} fixes the leak", "sha256 {}", "Image digest {} pulled.", "key {} not found in cache"),
    reading: (
        "BP {} today.",
        "Temperature {} and stable.",
        "Given {} in the evening.",
        "Counter shows {}.",
        "Setting {} chosen.",
    ),
    device_address: ("Controller at {} not reachable.", "Switch port of {} is down.", "Ping {} ok."),
    code_like: ("Seen in the log: {}.", "Install {} first.", "Use {} here."),
    lambda chance: a_date(chance, 2015, 2025): (
        "Bearing replaced on {} during the shutdown.",
        "Next inspection due {}.",
        "Invoice dated {} is enclosed.",
        "The contract of {} ends.",
    ),
    lambda chance: digits(chance, chance.randint(3, 9)): (
        "Meter reading {}.",
        "Batch {} passed.",
        "Room {} is free.",
        "Asset {} decommissioned.",
        "Case {} was heard.",
        "Page {} of the manual.",
    ),
    lambda chance: f"{chance.randint(1, 999)} {digits(chance, 3)} {digits(chance, 3)}": (
        "The plant made {} units.",
        "A population of {} was assumed.",
    ),
}
NEUTRAL = (
    "The pump was inspected and left running.",
    "She sleeps well and has no pain.",
    "We thank you for your patience.",
    "No leak was found.",
    "Please find our offer enclosed.",
    "Mild oedema, lungs clear.",
    "The valve was greased.",
    "Follow up in two weeks.",
)


def samples(seed: int, count: int) -> list[Sample]:
    """`count` texts of two to five sentences: about half hold personal data, nearly all hold look-alikes."""
    chance = random.Random(seed)
    return [_sample(chance) for _ in range(count)]


def _sample(chance: random.Random) -> Sample:
    parts: list[tuple[str, str]] = []
    for _ in range(chance.choice([0, 1, 1, 1])):
        parts.append(_personal(chance))
    for _ in range(chance.choice([1, 2, 3])):
        maker = chance.choice(list(HARD))
        parts.append(("", chance.choice(HARD[maker]).replace("{}", maker(chance))))
    parts.append(("", chance.choice(NEUTRAL)))
    chance.shuffle(parts)
    text, spans = "", []
    for kind, sentence in parts:
        text += chance.choice([" ", " ", "\n"]) if text else ""
        if kind:
            template, _, value = sentence.partition("\0")
            start = len(text) + template.index("{}")
            spans.append((kind, start, start + len(value)))
            sentence = template.replace("{}", value)
        text += sentence
    return Sample(text, tuple(spans))


def _personal(chance: random.Random) -> tuple[str, str]:
    """(kind, sentence template, NUL, value)."""
    name = chance.choice(list(SENTENCES))
    maker = VALUES.get(name) or LABELED_VALUES[name]
    return KIND_OF.get(name, name), f"{chance.choice(SENTENCES[name])}\0{maker(chance)}"
