"""Tables on disk: CSV by the standard library, Parquet by PyArrow."""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, Any, Protocol

from realtime.errors import UsageError
from realtime.system.logs import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.export.columns import Column

GROUP = 4096
"""Rows that are kept in memory until they make a row group of a Parquet file."""

FORMULA = ("=", "+", "-", "@")
"""A cell of text that begins so is calculated by a spreadsheet."""


class Sheet(Protocol):
    """One table being written."""

    def write(self, row: Sequence[Any]) -> None:
        """Add a row, in the order of the columns."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class Csv:
    """A CSV or tab-separated file: UTF-8, a header, empty cells for what is not there.

    Args:
        file: to write to; stays open.
        header: names of the columns.
        separator: between two cells.
        quote_formulas: put an apostrophe before what a spreadsheet would calculate.
    """

    def __init__(
        self, file: IO[bytes], header: Sequence[str], separator: str = ",", *, quote_formulas: bool = False
    ) -> None:
        self._quote_formulas = quote_formulas
        self._file = io.TextIOWrapper(file, encoding="utf-8", newline="", errors="replace")
        self._rows = csv.writer(self._file, delimiter=separator, lineterminator="\n")
        self._rows.writerow(header)

    def write(self, row: Sequence[Any]) -> None:
        """Add a row."""
        self._rows.writerow([self._cell(cell) for cell in row])

    def close(self) -> None:
        """Write what is left."""
        self._file.detach()  # flushes first

    def _cell(self, value: Any) -> Any:  # noqa: ANN401 - of any column
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str):
            return value
        text = printable(value)
        return f"'{text}" if self._quote_formulas and text.lstrip().startswith(FORMULA) else text


class Parquet:
    """A Parquet file with typed columns, each with its meaning as metadata.

    Args:
        file: to write to; stays open.
        columns: of the table.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra that only this needs
        from pyarrow import parquet  # noqa: PLC0415

        kinds = {
            "int": pa.int64(),
            "float": pa.float64(),
            "text": pa.string(),
            "bool": pa.bool_(),
        }
        fields = [pa.field(column.name, kinds[column.kind], metadata={"meaning": column.meaning}) for column in columns]
        self._schema = pa.schema(fields)
        self._batch = pa.record_batch
        self._file = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Sequence[Any]] = []

    def write(self, row: Sequence[Any]) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) >= GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_batch(self._batch([list(cells) for cells in zip(*self._rows, strict=True)], self._schema))
            self._rows.clear()


def check_parquet() -> None:
    """See that PyArrow is there.

    Raises:
        UsageError: it is not.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - as above
    except ImportError:
        raise UsageError(
            "--parquet needs PyArrow: .venv/bin/python -m pip install -c constraints.txt -e '.[export]'"
        ) from None
