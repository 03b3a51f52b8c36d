"""Check digits and issuer rules of numbers that carry them. Numbers come without separators."""

from shared.validation.content.pattern_set import PATTERNS

IBAN_LENGTHS: dict[str, int] = {
    country: int(length) for length, countries in PATTERNS["iban_lengths"].items() for country in countries.split()
}
_CARDS = [
    (*starts.split("-"), [*map(int, lengths.split())])
    for lengths, ranges in PATTERNS["card_lengths"].items()
    for starts in ranges.split()
]
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    values = [int(digit) for digit in reversed(number)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def card_issuer(number: str) -> bool:
    """Whether a card scheme issues numbers of this start and length (ISO/IEC 7812 ranges of the large schemes)."""
    if len(number) == 13 and ean(number):  # printed on any product; cards with 13 digits are hardly issued
        return False
    return any(first <= number[:4] <= last and len(number) in lengths for first, last, lengths in _CARDS)


def ean(number: str) -> bool:
    """GS1 General Specifications, 7.9: every other digit before the last counts three times."""
    values = [int(digit) for digit in reversed(number)]
    return (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: the country's length, and the number modulo 97 is 1 (ISO 7064)."""
    if len(number) != IBAN_LENGTHS.get(number[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


def nhs_number(number: str) -> bool:
    """NHS data dictionary: ten digits, weights 10 to 1, the sum is a multiple of 11; ten equal digits are invalid."""
    total = sum(weight * int(digit) for weight, digit in zip(range(10, 0, -1), number, strict=True))
    return total % 11 == 0 and len(set(number)) > 1


def us_ssn(number: str) -> bool:
    """Nine digits that the Social Security Administration may have issued (rules since 2011)."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
