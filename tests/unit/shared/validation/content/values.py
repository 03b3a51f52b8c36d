"""Values made by the rules of their standards, and numbers that only look like them. Nothing here is a real person's.

Check digits come from `python-stdnum` or are computed here, never by the detectors that are tested.
"""

from __future__ import annotations

import ipaddress
import random
import string

from stdnum import iban, luhn
from stdnum.gb import nhs

MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices(string.digits, k=count))


def grouped(number: str, sizes: tuple[int, ...], separator: str) -> str:
    parts, start = [], 0
    for size in sizes:
        parts.append(number[start : start + size])
        start += size
    return separator.join(parts)


def payment_card(chance: random.Random) -> str:
    prefix, length = chance.choice(
        [
            ("4", 16),
            ("4", 16),
            ("4", 13),
            ("4", 19),
            (str(chance.randint(51, 55)), 16),
            (str(chance.randint(2221, 2720)), 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            (str(chance.randint(3528, 3589)), 16),
            ("36", 14),
            ("6759", 16),
            ("62", 16),
        ]
    )
    body = prefix + digits(chance, length - len(prefix) - 1)
    number = body + luhn.calc_check_digit(body)
    separator = chance.choice(["", "", " ", " ", "-"])
    if not separator or length in (13, 19):
        return number
    sizes = {14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4)}[length]
    return grouped(number, sizes, separator)


def iban_number(chance: random.Random) -> str:
    upper = string.ascii_uppercase
    bank = "".join(chance.choices(upper, k=4))
    country, account = chance.choice(
        [
            ("DE", digits(chance, 18)),
            ("GB", bank + digits(chance, 14)),
            ("FR", digits(chance, 23)),
            ("NL", bank + digits(chance, 10)),
            ("ES", digits(chance, 20)),
            ("IT", chance.choice(upper) + digits(chance, 22)),
            ("CH", digits(chance, 17)),
            ("AT", digits(chance, 16)),
            ("BE", digits(chance, 12)),
            ("PL", digits(chance, 24)),
            ("SE", digits(chance, 20)),
            ("NO", digits(chance, 11)),
            ("IE", bank + digits(chance, 14)),
            ("MT", bank + digits(chance, 23)),
        ]
    )
    check = iban.calc_check_digits(country + "00" + account)
    number = country + check + account
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4)) if chance.random() < 0.5 else number


def us_ssn(chance: random.Random) -> str:
    area = chance.choice([number for number in range(1, 900) if number != 666])
    return f"{area:03}-{chance.randint(1, 99):02}-{chance.randint(1, 9999):04}"


def nhs_number(chance: random.Random) -> str:
    while True:
        number = chance.choice("46799") + digits(chance, 9)
        if nhs.is_valid(number):
            return number


def spaced_nhs_number(chance: random.Random) -> str:
    """With hyphens only where it could be no number of North America, whose area and exchange begin with 2 to 9."""
    number = nhs_number(chance)
    return grouped(number, (3, 3, 4), chance.choice([" ", " ", "-" if number[3] in "01" else " "]))


def north_american_phone(chance: random.Random) -> str:
    area = chance.choice(["212", "415", "617", "312", "713", "206", "404", "305", "646", "503", "416", "604"])
    local = f"{chance.choice('23456789')}{chance.choice('02345678')}{chance.choice(string.digits)}"
    line = digits(chance, 4)
    form = chance.choice(
        ["({a}) {l}-{n}", "{a}-{l}-{n}", "{a}.{l}.{n}", "1-{a}-{l}-{n}", "+1 {a} {l} {n}", "+1{a}{l}{n}"]
    )
    return form.format(a=area, l=local, n=line)


def european_phone(chance: random.Random) -> str:
    two, three, four, six = (lambda k=k: digits(chance, k) for k in (2, 3, 4, 6))
    first = chance.choice("23456789")
    return chance.choice(
        [
            f"020 7{three()} {four()}",
            f"020 8{three()} {four()}",
            f"0161 {chance.choice('2348')}{two()} {four()}",
            f"(0121) {chance.choice('2346')}{two()} {four()}",
            f"07{chance.choice('4578')}{two()} {six()}",
            f"+44 20 7{three()} {four()}",
            f"+44 (0)20 7{three()} {four()}",
            f"+447{chance.choice('4578')}{two()}{six()}",
            f"01 {chance.choice('45')}{two()[0]} {two()} {two()} {two()}",
            f"06 {first}{two()[0]} {two()} {two()} {two()}",
            f"+33 6 {first}{two()[0]} {two()} {two()} {two()}",
            f"030 {first}{six()}",
            f"089/{first}{six()}",
            f"0151 {first}{six()}{two()[0]}",
            f"+49 30 {first}{six()}",
            f"+49 (0)171 {first}{six()}",
            f"+41 44 {chance.choice('2345')}{two()} {two()} {two()}",
            f"+31 6 {first}{two()[0]}{three()}{three()}",
            f"+34 6{two()} {three()} {three()}",
            f"+353 1 {chance.choice('24678')}{two()} {four()}",
            f"+61 4{chance.choice('0123')}{two()[0]} {three()} {three()}",
            f"+91 9{four()} {four()}{two()[0]}",
            f"+81 3-{chance.choice('3456')}{three()}-{four()}",
            f"0044 20 7{three()} {four()}",
        ]
    )


def email(chance: random.Random) -> str:
    name = chance.choice(
        ["anna.kowalski", "j.o'brien", "m_tanaka", "lee-sun", "billing+claims", "a.b", "Jürgen.Weiß", "x9", "R.Patel77"]
    )
    host = chance.choice(
        [
            "example.com",
            "st-marys.nhs.uk",
            "mail.klinik-nord.de",
            "gmail.com",
            "hospital.example.org",
            "corp.co.jp",
            "firma.museum",
        ]
    )
    return f"{name}@{host}"


def public_ipv4(chance: random.Random) -> str:
    while True:
        address = ipaddress.IPv4Address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast:
            return str(address)


def public_ipv6(chance: random.Random) -> str:
    base = chance.choice([0x2A00, 0x2600, 0x2003, 0x2404]) << 112
    address = ipaddress.IPv6Address(
        base | (chance.getrandbits(32) << 64) | chance.getrandbits(chance.choice([8, 16, 64]))
    )
    return chance.choice([address.compressed, address.compressed, address.exploded, address.compressed.upper()])


def record_number(chance: random.Random) -> str:
    return chance.choice(
        [
            digits(chance, 7),
            digits(chance, 8),
            f"00-{digits(chance, 3)}-{digits(chance, 3)}",
            f"H{digits(chance, 6)}",
            f"RX{digits(chance, 7)}",
        ]
    )


def passport_number(chance: random.Random) -> str:
    letter = chance.choice(string.ascii_uppercase)
    return chance.choice(
        [
            digits(chance, 9),
            letter + digits(chance, 8),
            f"{letter}{chance.choice('CFGHJK')}{digits(chance, 7)}",
            f"C01X{digits(chance, 5)}",
        ]
    )


def license_number(chance: random.Random) -> str:
    letter = chance.choice(string.ascii_uppercase)
    return chance.choice(
        [
            letter + digits(chance, 7),
            f"MORGA{digits(chance, 6)}SM9IJ",
            f"{letter}{digits(chance, 3)}-{digits(chance, 4)}-{digits(chance, 4)}",
            digits(chance, 8),
        ]
    )


def a_date(chance: random.Random, first: int = 1930, last: int = 2025) -> str:
    day, month, year = chance.randint(1, 28), chance.randint(1, 12), chance.randint(first, last)
    name = MONTHS[month - 1]
    return chance.choice(
        [
            f"{year}-{month:02}-{day:02}",
            f"{day:02}/{month:02}/{year}",
            f"{month}/{day}/{year}",
            f"{day:02}.{month:02}.{year}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{day}-{name[:3]}-{year}",
            f"{month:02}/{day:02}/{year % 100:02}",
            f"{day}th of {name} {year}",
            f"{name[:3]} {day} {year}",
        ]
    )


def part_number(chance: random.Random) -> str:
    letters = "".join(chance.choices(string.ascii_uppercase, k=2))
    d = lambda k: digits(chance, k)  # noqa: E731
    return chance.choice(
        [
            f"{d(3)}-{d(2)}-{d(4)}",
            f"{letters}-{d(4)}-{d(3)}",
            f"{d(4)}-{d(4)}-{d(2)}",
            f"{letters}{d(2)}{letters}{d(6)}",
            f"{d(10)}",
            f"{d(3)}-{d(3)}-{d(4)}",
            f"{letters}{d(2)} {d(4)} {d(4)} {d(4)}",
        ]
    )


def order_number(chance: random.Random) -> str:
    return chance.choice(
        [
            digits(chance, 8),
            digits(chance, 10),
            digits(chance, 16),
            f"{digits(chance, 4)} {digits(chance, 4)} {digits(chance, 4)}",
            f"SO-{digits(chance, 9)}",
            f"45{digits(chance, 8)}",
        ]
    )


def version(chance: random.Random) -> str:
    r = chance.randint
    return chance.choice(
        [
            f"{r(1, 12)}.{r(0, 40)}.{r(0, 300)}",
            f"{r(1, 12)}.{r(0, 40)}.{r(0, 250)}.{r(0, 250)}",
            f"v{r(1, 9)}.{r(0, 9)}.{r(0, 9)}.{r(0, 99)}",
            f"10.0.{r(10000, 22000)}.{r(1, 999)}",
        ]
    )


def timestamp(chance: random.Random) -> str:
    r = chance.randint
    iso = f"{r(2015, 2025)}-{r(1, 12):02}-{r(1, 28):02}T{r(0, 23):02}:{r(0, 59):02}:{r(0, 59):02}"
    return chance.choice(
        [
            f"{iso}Z",
            f"{iso}.{digits(chance, 6)}+02:00",
            str(r(1_400_000_000, 1_760_000_000)),
            str(r(1_400_000_000_000, 1_760_000_000_000)),
            f"{r(0, 23):02}:{r(0, 59):02}:{r(0, 59):02}",
        ]
    )


def isbn(chance: random.Random) -> str:
    body = "978" + digits(chance, 9)
    check = (10 - sum(int(d) * (1, 3)[at % 2] for at, d in enumerate(body)) % 10) % 10
    number = f"{body}{check}"
    return chance.choice([number, f"{number[:3]}-{number[3]}-{number[4:7]}-{number[7:12]}-{number[12]}"])


def long_decimal(chance: random.Random) -> str:
    return f"{chance.choice(['0', '3', '12', '-0', '101'])}.{digits(chance, chance.choice([9, 12, 16]))}"


def hash_text(chance: random.Random) -> str:
    return "".join(chance.choices("0123456789abcdef", k=chance.choice([12, 32, 40, 64])))


def reading(chance: random.Random) -> str:
    r = chance.randint
    return chance.choice(
        [
            f"{r(90, 180)}/{r(50, 100)}",
            f"{r(1, 99)}.{r(0, 9)} mg",
            f"{r(36, 40)}.{r(0, 9)}",
            f"{r(100, 999)} {r(100, 999)} cycles",
            f"1-{r(2, 9)}-{r(10, 99)}",
            f"{r(1, 9)},{digits(chance, 3)},{digits(chance, 3)}",
        ]
    )


def device_address(chance: random.Random) -> str:
    r, pair = chance.randint, lambda: f"{chance.getrandbits(8):02X}"
    return chance.choice(
        [
            f"192.168.{r(0, 9)}.{r(2, 250)}",
            f"10.{r(0, 250)}.{r(0, 250)}.{r(1, 250)}",
            "127.0.0.1",
            ":".join(pair() for _ in range(6)),
            f"fe80::{chance.getrandbits(16):x}:{chance.getrandbits(16):x}",
        ]
    )


def code_like(chance: random.Random) -> str:
    return chance.choice(
        [
            "git@github.com:org/tool.git",
            "logo@2x.png",
            "@Override",
            "pump@line4",
            "std::vector",
            "a::b::c",
            "lodash@4.17.21",
            "13:05::02",
            "3 @ 4.50 EUR",
            "root@localhost",
        ]
    )
