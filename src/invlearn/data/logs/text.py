"""Read delimited text as one lazy table, with types inferred from every value.

A column becomes integer, float or boolean only if the conversion is lossless: ids such as `007`
and integers too long for 64 bits stay strings. Spaces around a value are removed, and the words
that pandas reads as missing (`NA`, `nan`, `null`, ...) are null.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from invlearn.data.logs.text_lines import Lines, without_blank
from invlearn.runtime.errors import DataError
from invlearn.runtime.text import clipped

Role = Literal["id", "text id", "number", "value"]
"""Use of a column: an id (an integer or text, never a float), an id that is text even if it looks
like a number, a number (text only where a value is none), or anything."""

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Value of a folder `name=value` for rows without a value."""

MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", r"\N"),
)
"""Words for a missing value: those of pandas, and that of Hive and MySQL."""

_DECLARED = {"float": pl.Float64(), "token": pl.String()}
_KEEP_AS_TEXT = r"^(\+|-?0[0-9])"  # a number would lose the sign or the zeros
_BLANK, _REPEATED = "blank ", "repeated "
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

    def header(self, file: Path) -> list[str]:
        """Return the field names of a file, as they are written but for spaces around them."""
        if self.names:
            return [name or f"{_BLANK}{position}" for position, name in enumerate(self.names)]
        names = [name.strip() for name in self.lines(file).first()]
        other = next((sign for sign in ",;|\t" if len(names) == 1 and sign in names[0]), None)
        if other and self.quoted:
            raise DataError(
                f"the first line of {file} is one column, {clipped(names[0])!r}; if its separator "
                f"is {other!r}, convert it to a file with {self.separator!r}"
            )
        return names

    def plain(self, name: str) -> str:
        """Return a column name without its declared type."""
        return name.rpartition(":")[0] if self.declared and ":" in name else name

    def scan(self, file: Path) -> pl.LazyFrame:
        """Open a file lazily; all columns are strings, and a repeated name is marked as such."""
        schema: dict[str, pl.DataType] = {}
        seen: set[str] = set()
        for position, name in enumerate(self.header(file)):
            repeated = self.plain(name) in seen
            schema[f"{_REPEATED}{position} {name}" if repeated else name] = pl.String()
            seen.add(self.plain(name))
        return pl.scan_csv(
            file,
            separator=self.separator,
            quote_char='"' if self.quoted else None,
            infer_schema=False,
            glob=False,
            has_header=False,
            skip_rows=0 if self.names else 1,
            schema=schema,
            raise_if_empty=False,
            missing_columns="insert",  # `checked` refuses lines that are too short
        )

    def checked(self, file: Path) -> pl.LazyFrame:
        """Open a file as `scan` does, without blank lines.

        Raises:
            DataError: A line has too many or too few fields, or is not UTF-8 text.
        """
        n_fields = len(self.header(file))
        rows = without_blank(self.lines(file), n_fields, self.scan(file))
        if not self.names:
            return rows
        wrong = [
            pl.col(name).is_null() != name.startswith(_BLANK) for name in rows.collect_schema()
        ]
        bad = rows.with_row_index("row").filter(pl.any_horizontal(wrong)).select("row").head(1)
        for (row,) in bad.collect(engine="streaming").iter_rows():
            wanted = ", ".join(filter(None, self.names))
            raise DataError(
                f"{file} line {row + 1:,} does not hold {wanted}; fix it or name another format"
            )
        return rows

    def lines(self, file: Path) -> Lines:
        """Return the lines of a file."""
        return Lines(file, self.separator, quoted=self.quoted, names=self.names)

    def rows(
        self,
        files: Sequence[Path],
        roles: Mapping[str, Role],
        constants: Sequence[Mapping[str, str]],
    ) -> pl.LazyFrame:
        """Return some columns of all files as one table, cast to the types of their values.

        Args:
            files: The files.
            roles: The columns to read, with their role.
            constants: For each file, the values of more columns.

        Raises:
            DataError: There are no rows, a line has too many or too few fields, a column name is
                repeated, or a value does not fit its role or its declared type.
        """
        names = [name for name in self.names if name] or self.header(files[0])
        names += constants[0]
        plain = {name: self.plain(name) for name in names}
        names = [name for name in names if plain[name] in roles]
        times = Counter(plain[name] for name in names)
        if twice := [name for name, n in times.items() if n > 1]:
            raise DataError(
                f"{files[0]} has more than one column {clipped(twice[0])}; rename all but one"
            )
        frames = [
            self.checked(file).with_columns(constant(*one) for one in more.items()).select(names)
            for file, more in zip(files, constants, strict=True)
        ]
        rows = pl.concat(frames)
        cast = self._cast(rows, {name: roles[plain[name]] for name in names}, files)
        return rows.select(cast[name].alias(plain[name]) for name in names)

    def _cast(
        self, rows: pl.LazyFrame, roles: Mapping[str, Role], files: Sequence[Path]
    ) -> dict[str, pl.Expr]:
        """Infer the type of each column; return its values in that type.

        One pass over all values finds the columns of plain integers, a second looks at the others.
        """
        simple = [fact for name in roles for fact in _simple_facts(name)]
        found = rows.select(pl.len(), *simple).collect(engine="streaming").row(0, named=True)
        if found["len"] == 0:
            raise DataError(f"{files[0]} has no rows; give a log with at least one")
        doubtful = [name for name in roles if found[f"doubt {name}"] or found[f"int {name}"]]
        facts = rows.select(pl.len(), *(fact for name in doubtful for fact in _facts(name)))
        full = facts.collect(engine="streaming").row(0, named=True)
        values: dict[str, pl.Expr] = {}
        for name, role in roles.items():
            kind = name.rpartition(":")[2] if self.declared and ":" in name else ""
            dtype = _DECLARED.get(kind, pl.String()) if kind else None
            if name not in doubtful:
                values[name] = pl.col(name).cast(dtype or _plain_type(role))
                continue
            if dtype == pl.Float64():
                self._check_declared(name, files)
            values[name] = _cast(_clean(name), dtype or _type_of(name, role, full))
        return values

    def _check_declared(self, name: str, files: Sequence[Path]) -> None:
        """Raise if a column that the header declares as numeric holds another value."""
        value = _clean(name)
        unfit = value.is_not_null() & _cast(value, pl.Float64(), strict=False).is_null()
        if found := self._first(files, unfit, name):
            raise DataError(
                f"{found[0]} row {found[1] + 1}, column {name}: found '{found[2]}' where the "
                "header declares a number; fix the row or declare the column a token"
            )

    def _first(
        self, files: Sequence[Path], where: pl.Expr, name: str
    ) -> tuple[Path, int, str | None] | None:
        """Return file, row number (from 0) and `name` value of the first match of `where`."""
        for file in files:
            rows = self.checked(file).with_row_index("row number")
            for row in rows.filter(where).head(1).collect(engine="streaming").iter_rows(named=True):
                return file, int(row["row number"]), row[name]
        return None


def constant(name: str, value: str) -> pl.Expr:
    """Return a column of one text, from a folder `name=value`."""
    return pl.lit(None if value == NO_VALUE else value, pl.String).alias(name)


def _clean(name: str) -> pl.Expr:
    """Return the values of a column without spaces around them; null for missing values."""
    value = pl.col(name).str.strip_chars(" \t")
    return pl.when(~value.is_in(MISSING)).then(value)


def _simple_facts(name: str) -> list[pl.Expr]:
    """Return whether a column is anything but plain integers and empty fields."""
    value = pl.col(name)
    whole = value.cast(pl.Int64, strict=False)
    return [
        (whole.is_null() & value.is_not_null()).any().alias(f"int {name}"),
        (value.str.contains(_KEEP_AS_TEXT).any() | whole.is_null().all()).alias(f"doubt {name}"),
    ]


def _facts(name: str) -> list[pl.Expr]:
    """Return the statistics that decide the type of a column.

    Counts of values that are not integers or not floats (nulls included), and of booleans.
    """
    value = _clean(name)
    return [
        fact.alias(f"{kind} {name}")
        for kind, fact in {
            "null": value.null_count(),
            "int": _cast(value, pl.Int64(), strict=False).null_count(),
            "float": _cast(value, pl.Float64(), strict=False).null_count(),
            # a cast here would take time quadratic in the number of columns
            "bool": value.str.contains(_TRUE_OR_FALSE).sum(),
            "text": value.str.contains(_KEEP_AS_TEXT).any(),
            "long": value.str.contains(_TOO_LONG).any(),
        }.items()
    ]


def _cast(value: pl.Expr, dtype: pl.DataType, *, strict: bool = True) -> pl.Expr:
    if dtype == pl.Boolean():
        lower = value.str.to_lowercase()
        return lower.replace_strict({"true": True, "false": False}, default=None)
    return value.cast(dtype, strict=strict)


def _plain_type(role: Role) -> pl.DataType:
    """Return the type of a column of plain integers."""
    return pl.String() if role == "text id" else pl.Int64()


def _type_of(name: str, role: Role, facts: Mapping[str, Any]) -> pl.DataType:
    nulls, is_number = facts[f"null {name}"], role == "number"
    if nulls == facts["len"] and is_number:
        return pl.Float64()
    if nulls == facts["len"] or role == "text id" or (facts[f"text {name}"] and not is_number):
        return pl.String()
    if facts[f"int {name}"] == nulls:
        return pl.Int64()
    if role == "id":
        return pl.String()
    if facts[f"float {name}"] == nulls and (is_number or not facts[f"long {name}"]):
        return pl.Float64()
    is_boolean = facts[f"bool {name}"] == facts["len"] - nulls
    return pl.Boolean() if is_boolean else pl.String()
