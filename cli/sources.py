"""Records of other systems: tables, fixed-width files, FHIR resources, HL7 version 2 messages, folders of letters."""

import base64
import binascii
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from cli.exit_codes import InputError
from cli.mapping import Mapping, Record
from shared.validation.formats import CHAT, Format
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.lines import RefusedLine, Unreadable

CHUNK_BYTES = 1 << 20
_TAG = re.compile(r"<[^>]+>")
_FORMATTED = {".br": "\n", ".sp": "\n", "H": "", "N": ""}  # HL7 version 2.5, 2.7.4 and 2.7.6


def records_of(path: Path, mapping: Mapping) -> Iterator[Record]:
    """The records of a file, or of a folder of texts. Raises InputError if it cannot be read as the mapping says."""
    try:
        match mapping.format:
            case "fixed_width":
                yield from _fixed_width(path, mapping)
            case "fhir":
                yield from map(_resource, _resources(path))
            case "hl7":
                yield from _hl7(path)
            case "text":
                yield from _letters(path, mapping.divider)
            case "paragraphs":
                yield from _paragraphs(path)
            case _:
                yield from _rows(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 at byte {error.start}; convert it first") from error


def _rows(path: Path) -> Iterator[Record]:
    try:
        for _, line, _ in lines_of(path):
            value = orjson.loads(line)
            yield value if isinstance(value, dict) else {"value": value}
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path.name} is neither a table nor JSON: {error}") from error


def lines_of(path: Path) -> Iterator[tuple[int, bytes, Format]]:
    """Numbered rows, as JSON, of what the validator reads: CSV, Excel, Parquet, JSON, JSON Lines, a file in a zip."""
    try:
        intake = open_rows(_chunks(path), ExpectedRows(table=path.suffix.lower() in (".csv", ".tsv")))
        for first, _, lines in intake.blocks:
            for number, line in enumerate(lines, start=first):
                if isinstance(line, RefusedLine):
                    raise InputError(f"line {number} of {path.name} cannot be read: {line.code}")
                if line.strip():
                    yield number, line, intake.form or CHAT
    except Unreadable as error:
        raise InputError(f"{path.name} cannot be read: {error.code}; `droptune validate` says more") from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _fixed_width(path: Path, mapping: Mapping) -> Iterator[Record]:
    if not mapping.columns:
        raise InputError("fixed_width needs columns: name -> [first, last]")
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            yield {name: line[first - 1 : last].strip() for name, (first, last) in mapping.columns.items()}


def _paragraphs(path: Path) -> Iterator[Record]:
    """Records divided by empty lines; `c1` is what stands before the first tab, of all their lines."""
    for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8-sig").strip()):
        columns = zip_longest(*(line.split("\t") for line in paragraph.splitlines()), fillvalue="")
        yield {f"c{n}": " ".join(filter(None, cells)) for n, cells in enumerate(columns, start=1)}


def _resources(path: Path) -> Iterator[dict[str, Any]]:
    """The resources of a bundle, or of NDJSON as a bulk export gives it."""
    data = path.read_bytes()
    try:
        documents = [orjson.loads(data)]
    except orjson.JSONDecodeError:
        documents = [orjson.loads(line) for line in data.splitlines() if line.strip()]
    for document in documents:
        yield from (entry["resource"] for entry in document.get("entry", [])) if "entry" in document else [document]


def _resource(resource: dict[str, Any]) -> Record:
    """A resource's own top-level values, and as `text` all that a person wrote in it."""
    plain = {name: value for name, value in resource.items() if not isinstance(value, dict | list)}
    contents = [entry.get("attachment", {}) for entry in resource.get("content", [])] + resource.get(
        "presentedForm", []
    )
    texts = [_attachment(attachment) for attachment in contents]
    texts += [resource.get(name, "") for name in ("conclusion", "valueString")]
    texts += [_TAG.sub(" ", section.get("text", {}).get("div", "")) for section in resource.get("section", [])]
    texts += [note.get("text", "") for note in resource.get("note", [])]
    subject, coding = resource.get("subject", {}), resource.get("type", resource.get("code", {}))
    code = coding.get("text") or next((one.get("display", "") for one in coding.get("coding", [])), "")
    lines = (" ".join(line.split()) for part in texts for line in part.splitlines())
    text = "\n".join(filter(None, lines))
    return plain | {"subject": subject.get("reference", ""), "code": code, "text": text}


def _attachment(attachment: dict[str, Any]) -> str:
    if not attachment.get("contentType", "text/plain").startswith("text/"):
        return ""
    try:
        text = base64.b64decode(attachment.get("data", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return _TAG.sub(" ", text) if "html" in attachment.get("contentType", "") else text


def _hl7(path: Path) -> Iterator[Record]:
    """One record a message: its type, time, patient, what was ordered, and the text of all its OBX and NTE."""
    import hl7  # type: ignore[import-untyped]

    found = hl7.split_file(path.read_text(encoding="utf-8-sig").replace("\r\n", "\r").replace("\n", "\r"))
    if not found:
        raise InputError(f"{path.name} has no HL7 message (MSH)")
    for text in found:
        message = hl7.parse(text)
        record: Record = {"type": _field(message, "MSH", 9), "time": _field(message, "MSH", 7)}
        record |= {"patient": _field(message, "PID", 3), "ordered": _field(message, "OBR", 4)}
        lines = [
            message.unescape(str(segment[place]), _FORMATTED)
            for segment in message
            for place in ({"OBX": 5, "NTE": 3}.get(str(segment[0]), 0),)
            if place and len(segment) > place
        ]
        yield record | {"text": "\n".join(line for line in lines if line)}


def _field(message: Any, segment: str, place: int) -> str:
    """The first component of a field, of an ordered test its text; empty where the message has none."""
    found = [each for each in message if str(each[0]) == segment]
    parts = str(found[0][place]).split("^") if found and len(found[0]) > place else [""]
    return parts[1] if segment == "OBR" and len(parts) > 1 else parts[0]


def _letters(path: Path, divider: str) -> Iterator[Record]:
    """Each text of a folder: `file`, `text`, and where there is a divider `before` and `after` it."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} has no .txt file")
    for file in files:
        text = file.read_text(encoding="utf-8-sig")
        before, _, after = text.partition(f"\n{divider}\n") if divider else (text, "", "")
        yield {"file": file.name, "text": text.strip(), "before": before.strip(), "after": after.strip()}
