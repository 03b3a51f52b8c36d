"""Workbooks as Excel writes them, made of the few entries that a reader needs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/'
_ROOT = f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
# 1: a date, 2: a date with a time, 3: a time, 4: hours beyond a day.
_STYLES = (
    f'<styleSheet {_MAIN}><numFmts count="1"><numFmt numFmtId="164" formatCode="[h]:mm:ss"/></numFmts>'
    '<cellXfs count="5"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="21"/>'
    '<xf numFmtId="164"/></cellXfs></styleSheet>'
)
_HIDDEN = ' state="hidden"'
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # Excel's days count from here


def workbook(sheets: Mapping[str, Sequence[Sequence[Any]] | str], hidden: Sequence[str] = (), **entries: str) -> bytes:
    """`sheets`: name -> rows of values, or the XML inside `worksheet`. `entries`: further ones, `a__b` as `a/b.xml`."""
    rels = "".join(
        f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{n}"{_HIDDEN * (name in hidden)} r:id="rId{n}"/>'
        for n, name in enumerate(sheets, 1)
    )
    written = {
        "[Content_Types].xml": f'<Types {_PACKAGE}content-types"/>',
        "_rels/.rels": f'<Relationships {_PACKAGE}relationships">{_ROOT}</Relationships>',
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships {_PACKAGE}relationships">{rels}</Relationships>',
        "xl/styles.xml": _STYLES,
        **{name.replace("__", "/") + ".xml": text for name, text in entries.items()},
    }
    for n, content in enumerate(sheets.values(), 1):
        inside = content if isinstance(content, str) else sheet_data(content)
        written[f"xl/worksheets/sheet{n}.xml"] = f"<worksheet {_MAIN}>{inside}</worksheet>"
    return zipped(written)


def zipped(entries: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(name, text, zipfile.ZIP_STORED if name == "mimetype" else None)
    return packed.getvalue()


def sheet_data(rows: Sequence[Sequence[Any]]) -> str:
    """Rows of values; None is no cell, and an empty row none in the file. A text that begins with `<c` is the cell."""
    written = (
        f'<row r="{number}">{"".join(_cell(value, column, number) for column, value in enumerate(row))}</row>'
        for number, row in enumerate(rows, 1)
        if row
    )
    return f"<sheetData>{''.join(written)}</sheetData>"


def _cell(value: Any, column: int, number: int) -> str:
    at = f'r="{chr(65 + column)}{number}"'
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith("<c"):
        return value.replace("<c", f"<c {at}", 1)
    if isinstance(value, str):
        return f'<c {at} t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    if isinstance(value, bool):
        return f'<c {at} t="b"><v>{value:d}</v></c>'
    if isinstance(value, datetime):
        return f'<c {at} s="2"><v>{(value - _EPOCH).total_seconds() / 86400!r}</v></c>'
    if isinstance(value, date):
        return f'<c {at} s="1"><v>{(value - _EPOCH.date()).days}</v></c>'
    return f"<c {at}><v>{value!r}</v></c>"
