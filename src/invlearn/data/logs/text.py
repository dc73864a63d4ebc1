"""Read delimited text as one lazy table, with types inferred from every value.

A column becomes integer, float or boolean only if the conversion is lossless: ids such as `007`
and integers too long for 64 bits stay strings.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars import exceptions

from invlearn.data.engines.engine import first_line
from invlearn.runtime.errors import DataError
from invlearn.runtime.text import clipped

_DECLARED = {"float": pl.Float64(), "token": pl.String()}
_KEEP_AS_TEXT = r"^(\+|-?0[0-9])"  # a number would lose the sign or the zeros
_BLANK = "blank "
_TRUE_OR_FALSE = r"^(?i:true|false)$"
_TOO_LONG = r"^-?[0-9]{17,}$"  # an integer that a float would round


@dataclass(frozen=True, slots=True)
class Text:
    """Dialect of a delimited text file."""

    separator: str = ","
    """Field separator, one character."""
    names: tuple[str, ...] = ()
    """Field names of a file without header; `""` for a field that is always empty."""
    quoted: bool = True
    """Whether fields in double quotes may contain the separator."""
    declared: bool = False
    """Whether the header declares types, as in RecBole's `user_id:token` and `rating:float`."""

    def __call__(self, file: Path) -> pl.LazyFrame:
        """Open a file lazily; all columns are strings."""
        names = [name or f"{_BLANK}{position}" for position, name in enumerate(self.names)]
        return pl.scan_csv(
            file,
            separator=self.separator,
            quote_char='"' if self.quoted else None,
            infer_schema=False,
            glob=False,
            has_header=not names,
            schema=dict.fromkeys(names, pl.String) if names else None,
        )

    def typed(self, rows: pl.LazyFrame, files: Sequence[Path]) -> pl.LazyFrame:
        """Infer the column types in one pass over all values, and cast the columns.

        Args:
            rows: Concatenated rows of the files.
            files: The files, for messages.

        Raises:
            DataError: There are no rows, a line has too many fields, a column name is repeated, a
                value is not of its declared type, or a file without header lacks a field.
        """
        names = rows.collect_schema().names()
        try:
            found = rows.select(pl.len(), *_facts(names)).collect(engine="streaming")
        except exceptions.ComputeError as error:
            raise self._broken(files, error) from error
        facts = found.row(0, named=True)
        if facts["len"] == 0:
            raise DataError(f"{files[0].name} has no rows; give a log with at least one")
        if self.names:
            self._refuse_misfilled(facts, files)
            names = [name for name in self.names if name]
        # types declared in headers such as `user_id:token`; sequences stay strings
        typed = [name for name in names if self.declared and ":" in name]
        declared = {name: _DECLARED.get(name.rpartition(":")[2], pl.String()) for name in typed}
        self._refuse_misfits(declared, facts, files)
        types = {name: declared.get(name) or _type_of(name, facts) for name in names}
        plain = {name: name.rpartition(":")[0] if name in declared else name for name in names}
        # Polars adds a suffix to repeated column names.
        same = Counter(name.partition("_duplicated_")[0] for name in plain.values())
        if twice := [name for name, times in same.items() if times > 1]:
            raise DataError(
                f"{files[0].name} has more than one column {clipped(twice[0])}; rename all but one"
            )
        return rows.select(_cast(name, types[name]).alias(plain[name]) for name in names)

    def _refuse_misfilled(self, facts: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Raise if a named field is missing in a line, or a field that must be empty is not."""
        for name in self(files[0]).collect_schema().names():
            blank = name.startswith(_BLANK)
            if facts[f"null {name}"] != (facts["len"] if blank else 0):
                file, row, _ = self._first(files, pl.col(name).is_null() != blank, name)
                raise DataError(
                    f"{file.name}, line {row + 1} of the rows, does not hold "
                    f"{', '.join(filter(None, self.names))}; fix it or name another format"
                )

    def _refuse_misfits(
        self, declared: Mapping[str, pl.DataType], facts: Mapping[str, Any], files: Sequence[Path]
    ) -> None:
        """Raise if a column that the header declares as numeric holds another value."""
        for name, dtype in declared.items():
            if dtype == pl.Float64() and facts[f"float {name}"] > facts[f"null {name}"]:
                unfit = pl.col(name).is_not_null() & _cast(name, dtype, strict=False).is_null()
                file, row, value = self._first(files, unfit, name)
                raise DataError(
                    f"{file.name} row {row + 1}, column {name}: found '{value}' where the header "
                    "declares a number; fix the row or declare the column a token"
                )

    def _first(
        self, files: Sequence[Path], where: pl.Expr, name: str
    ) -> tuple[Path, int, str | None]:
        """Return file, row number (from 0) and `name` value of the first match of `where`."""
        for file in files:
            rows = self(file).with_row_index("row number").filter(where).head(1)
            for row in rows.collect(engine="streaming").iter_rows(named=True):
                return file, int(row["row number"]), row[name]
        raise DataError(f"{_names(files)} changed while it was read; try again")

    def _broken(self, files: Sequence[Path], error: exceptions.ComputeError) -> DataError:
        """Return an error that names the first line with more fields than its file's first line."""
        if "utf-8" in str(error):
            return DataError(f"{_names(files)} is not UTF-8 text; save it again as UTF-8")
        for file in files:
            opened = gzip.open if file.suffix == ".gz" else open
            with (
                opened(file, "rt", encoding="utf-8", errors="replace", newline="") as stream,
                suppress(csv.Error),  # csv fails on huge fields
            ):
                quoting = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
                lines = csv.reader(stream, delimiter=self.separator, quoting=quoting)
                wanted = len(self.names) or len(next(lines))
                for fields in lines:
                    if len(fields) > wanted:
                        return DataError(
                            f"{file.name} line {lines.line_num} has {len(fields)} fields where the "
                            f"first line has {wanted}; fix or remove the line"
                        )
        reason = first_line(error)
        return DataError(f"{_names(files)} cannot be read ({reason}); fix the broken line")


def _facts(names: list[str]) -> list[pl.Expr]:
    """Return the statistics that decide the type of each column.

    Counts of values that are not integers or not floats (nulls included), and of booleans.
    """
    return [
        fact.alias(f"{kind} {name}")
        for name in names
        for kind, fact in {
            "null": pl.col(name).null_count(),
            "int": _cast(name, pl.Int64(), strict=False).null_count(),
            "float": _cast(name, pl.Float64(), strict=False).null_count(),
            # a cast here would take time quadratic in the number of columns
            "bool": pl.col(name).str.contains(_TRUE_OR_FALSE).sum(),
            "text": pl.col(name).str.contains(_KEEP_AS_TEXT).any(),
            "long": pl.col(name).str.contains(_TOO_LONG).any(),
        }.items()
    ]


def _cast(name: str, dtype: pl.DataType, *, strict: bool = True) -> pl.Expr:
    if dtype == pl.Boolean():
        lower = pl.col(name).str.to_lowercase()
        return lower.replace_strict({"true": True, "false": False}, default=None)
    return pl.col(name).cast(dtype, strict=strict)


def _type_of(name: str, facts: Mapping[str, Any]) -> pl.DataType:
    nulls = facts[f"null {name}"]
    if nulls == facts["len"] or facts[f"text {name}"]:
        return pl.String()
    if facts[f"int {name}"] == nulls:
        return pl.Int64()
    if facts[f"float {name}"] == nulls and not facts[f"long {name}"]:
        return pl.Float64()
    is_boolean = facts[f"bool {name}"] == facts["len"] - nulls
    return pl.Boolean() if is_boolean else pl.String()


def _names(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return files[0].name
    return f"one of {files[0].name} to {files[-1].name}"
