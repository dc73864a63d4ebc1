"""Find the lines of a delimited text file that a table engine would misread in silence.

An engine pads a line with too few fields with nulls, drops fields that are too many if it does not
need them, and takes everything between two stray quotes for one field.
"""

import csv
import gzip
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars import exceptions

from invlearn.data.engines.engine import first_line
from invlearn.runtime.errors import DataError, InvlearnWarning

_LINE = "line"


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a file."""

    file: Path
    separator: str
    quoted: bool
    """Whether fields in double quotes may contain the separator and line ends."""
    names: tuple[str, ...]
    """Field names of a file without header."""

    def first(self) -> list[str]:
        """Return the fields of the first line."""
        return next((fields for _, _, fields in self.records()), [])

    def records(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the first line of each record, from 1, its number of lines, and its fields.

        Raises:
            DataError: The file is not UTF-8 text, or a field is too long.
        """
        before, opened = 0, gzip.open if self.file.suffix == ".gz" else open
        quoting = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        try:
            with opened(self.file, "rt", encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, delimiter=self.separator, quoting=quoting)
                for fields in reader:
                    yield before + 1, reader.line_num - before, fields
                    before = reader.line_num
        except UnicodeDecodeError as error:
            raise self.not_utf8() from error
        except (csv.Error, EOFError) as error:
            raise DataError(f"{self.file} line {before + 1} cannot be read ({error})") from error

    def not_utf8(self) -> DataError:
        """Return the error for a file of another encoding, with the first such line."""
        opened = gzip.open if self.file.suffix == ".gz" else open
        with opened(self.file, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return DataError(
                        f"{self.file} line {number:,} is not UTF-8 text; save it again as UTF-8"
                    )
        return DataError(f"{self.file} is not UTF-8 text; save it again as UTF-8")

    def wrong(self, number: int, n_fields: int, wanted: int) -> DataError:
        """Return the error for a line with another number of fields."""
        if self.names:
            names = ", ".join(filter(None, self.names))
            return DataError(
                f"{self.file} line {number:,} does not hold {names}; fix it or name another format"
            )
        fields = f"{n_fields} field{'s' * (n_fields != 1)}"
        return DataError(
            f"{self.file} line {number:,} has {fields} where the first line has {wanted}; complete "
            "or remove the line"
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What is unusual about the lines of a file, after its header."""

    n_records: int
    n_blank: int
    messy: int | None = None
    """First line with quotes that do not enclose a whole field of that line, from 1."""


def without_blank(lines: Lines, n_fields: int, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Check that each line of a file has as many fields as it should, and drop blank lines.

    Args:
        lines: The file.
        n_fields: Number of fields of a line.
        rows: The file as the table engine reads it, all columns as text.

    Raises:
        DataError: A line has too many or too few fields or an unpaired quote, or the file is no
            UTF-8 text.
    """
    try:
        found = _unusual(lines, n_fields)
    except exceptions.ComputeError as error:
        if "utf" in str(error).lower():
            raise lines.not_utf8() from error
        raise
    if found is None:
        return rows
    is_blank = pl.all_horizontal(pl.all().str.strip_chars().fill_null("") == "")
    try:
        n_rows, n_blank = rows.select(pl.len(), is_blank.sum()).collect(engine="streaming").row(0)
    except exceptions.PolarsError as error:
        raise _misquoted(lines, found, first_line(error)) from error
    if n_rows != found.n_records:
        raise _misquoted(lines, found, f"{n_rows:,} rows in {found.n_records:,} lines")
    if n_blank != found.n_blank:
        raise DataError(
            f"{lines.file} has blank lines, and lines with separators but without a value; remove "
            "either"
        )
    return rows.filter(~is_blank) if n_blank else rows


def _unusual(lines: Lines, wanted: int) -> _Found | None:
    """Look at all lines; return what is unusual, if anything.

    Raises:
        DataError: A line has too many or too few fields.
    """
    header = int(not lines.names)
    rows = pl.scan_lines(lines.file, name=_LINE, glob=False).slice(header)
    line, sign = pl.col(_LINE), lines.separator
    has_quote = line.str.contains('"', literal=True) if lines.quoted else pl.lit(value=False)
    is_wrong = line.str.count_matches(sign, literal=True) != wanted - 1
    if not rows.select((has_quote | is_wrong).any()).collect(engine="streaming").item():
        return None
    # quoted fields that end in the same line; other quotes stay
    enclosed = rf'(^|{re.escape(sign)})"(?:[^"]|"")*"'
    bare = line.str.replace_all(enclosed, "${1}") if lines.quoted else line
    is_blank, is_messy = line.str.strip_chars() == "", has_quote & bare.str.contains('"')
    n_fields = bare.str.count_matches(sign, literal=True) + 1
    is_wrong = ~is_blank & (n_fields != wanted)
    number = pl.int_range(pl.len()) + 1 + header
    facts = rows.with_columns(n=number, fields=n_fields, messy=is_messy, wrong=is_wrong)
    messy = pl.col("n").filter(pl.col("messy")).first().alias("messy")
    first = pl.col("n", "fields").filter(pl.col("wrong")).first()
    found = facts.select(pl.len(), is_blank.sum().alias("blank"), messy, first).collect()
    n_lines, n_blank, messy, number, fields = found.row(0)
    if messy is not None:
        return _look_at_records(lines, wanted, messy)
    if number is not None:
        raise lines.wrong(number, fields, wanted)
    return _Found(n_lines, n_blank)


def _look_at_records(lines: Lines, wanted: int, messy: int) -> _Found:
    """Read a file with unpaired quotes record by record; warn of fields of several lines."""
    n_records = n_blank = 0
    for number, n_lines, fields in lines.records():
        if number == 1 and not lines.names:
            continue
        n_records += 1
        if not any(field.strip() for field in fields) and len(fields) <= 1:
            n_blank += 1
        elif len(fields) != wanted:
            raise lines.wrong(number, len(fields), wanted)
        if n_lines > 1:
            warnings.warn(
                f"{lines.file} line {number:,}: a field in quotes goes on for {n_lines:,} lines; "
                "if a quote is missing there, the rows in between are lost",
                InvlearnWarning,
                stacklevel=2,
            )
    return _Found(n_records, n_blank, messy)


def _misquoted(lines: Lines, found: _Found, why: str) -> DataError:
    if found.messy is None:
        return DataError(f"{lines.file} cannot be read ({why}); write it again")
    return DataError(
        f"{lines.file} line {found.messy:,} cannot be read: its quotes are not in pairs around a "
        f"whole field ({why}); remove them, or double a quote inside a field"
    )
