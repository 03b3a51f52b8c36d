"""Every problem the validator can report, written once: severity, plain words, and what to do about it."""

from shared.domain.findings import read_codes

MIN_ROWS = 10
FEW_ROWS = 50
MAX_ROW_BYTES = 3 * 2**20
MAX_DECOMPRESSED_BYTES = 16 * 2**30
MAX_RATIO = 600  # gzip reaches 300 where all rows are alike, and 1,030 of nothing but zeros
RATIO_FROM_BYTES = 64 * 2**20
MAX_WORKBOOK_BYTES = 512 * 2**20  # of XML; a workbook is held in memory
MAX_WORKBOOK_CELLS = 20_000_000  # a sheet's rows times its columns

CODES = read_codes(__file__)
CONTENT_CODES = read_codes(__file__, "content_codes.toml")
