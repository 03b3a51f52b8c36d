"""Records of other systems: tables, fixed-width files, FHIR resources, HL7 version 2 messages, folders of letters."""

import base64
import binascii
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from html import unescape
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from cli.common import InputError
from cli.mapping import Mapping, Record
from shared.validation.formats import CHAT, Format
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.lines import RefusedLine, Unreadable, chunks_of

_TAG = re.compile(r"<[^>]+>")
_WRITTEN = re.compile("attachment|component|conclusion|contained|content|note|presentedForm|section|valueString")
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
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path.name} is neither a table nor JSON: {error}") from error


def _rows(path: Path) -> Iterator[Record]:
    for _, line, _ in lines_of(path):
        value = orjson.loads(line)
        yield value if isinstance(value, dict) else {"value": value}


def lines_of(path: Path) -> Iterator[tuple[int, bytes, Format]]:
    """Numbered rows, as JSON, of what the validator reads: CSV, Excel, Parquet, JSON, JSON Lines, a file in a zip."""
    try:
        intake = open_rows(chunks_of(path), ExpectedRows(table=path.suffix.lower() in (".csv", ".tsv")))
        for number, _, line in intake.lines:
            if isinstance(line, RefusedLine):
                raise InputError(f"line {number} of {path.name} cannot be read: {line.code}")
            if line.strip():
                yield number, line, intake.form or CHAT
    except Unreadable as error:
        raise InputError(f"{path.name} cannot be read: {error.code}; `droptune validate` says more") from error


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
    data = path.read_bytes().removeprefix(BOM_UTF8)
    try:
        documents = orjson.loads(data)
    except orjson.JSONDecodeError:
        documents = [orjson.loads(line) for line in data.splitlines() if line.strip()]
    for document in documents if isinstance(documents, list) else [documents]:
        resource = _object(document)
        yield from (_object(one.get("resource")) for one in resource.get("entry", [{"resource": resource}]))


def _resource(resource: dict[str, Any]) -> Record:
    """A resource's own top-level values, and as `text` all that a person wrote in it and in those it contains."""
    plain = {name: value for name, value in resource.items() if not isinstance(value, dict | list)}
    coding = _object(resource.get("type", resource.get("code")))
    code = coding.get("text") or _object(coding.get("coding")).get("display", "")
    text = "\n".join(filter(None, (" ".join(line.split()) for line in "\n".join(_written(resource)).splitlines())))
    return plain | {"subject": _object(resource.get("subject")).get("reference", ""), "code": code, "text": text}


def _object(value: Any) -> dict[str, Any]:
    """An object, or the first of a list of them, as an encounter's type is; empty if it is neither."""
    return next((one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)), {})


def _written(node: Any, name: str = "") -> Iterator[str]:
    """Texts below a place, in their order. `name`: of the place."""
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, str) and name in ("conclusion", "valueString"):
            yield one
        elif isinstance(one, dict) and name in ("attachment", "presentedForm"):
            yield _attachment(one)
        elif isinstance(one, dict):
            yield str(one.get("text") or "") if name == "note" else ""
            yield unescape(_TAG.sub(" ", _object(one.get("text")).get("div", ""))) if name == "section" else ""
            for inner, part in one.items():
                if _WRITTEN.fullmatch(inner):
                    yield from _written(part, inner)


def _attachment(attachment: dict[str, Any]) -> str:
    kind = attachment.get("contentType") or "text/plain"
    if not kind.startswith("text/"):
        return ""
    try:
        text = base64.b64decode(attachment.get("data") or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return unescape(_TAG.sub(" ", text)) if "html" in kind else text


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
            message.unescape(str(segment[place]).replace(message.separators[2], "\n"), _FORMATTED)
            for segment in message
            for place in ({"OBX": 5, "NTE": 3}.get(str(segment[0]), 0),)
            if place and len(segment) > place
        ]
        yield record | {"text": "\n".join(line for line in lines if line)}


def _field(message: Any, segment: str, place: int) -> str:
    """The first component of a field, of an ordered test its text; empty where the message has none."""
    found = [each for each in message if str(each[0]) == segment]
    parts = str(found[0][place]).split(message.separators[3]) if found and len(found[0]) > place else [""]
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
