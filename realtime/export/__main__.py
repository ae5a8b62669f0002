"""Command line of the export: `python -m realtime.export DIR -o OUT`, a recording as tables for research tools.

Exit codes as of realtime.run: 0 written, 2 wrong option or folder, 3 no readable recording.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from realtime.errors import AgfnError, UsageError
from realtime.export import bids
from realtime.export.columns import TABLES, described
from realtime.export.eaf import check_eaf, write_eaf
from realtime.export.elan import HEADER, Tiers
from realtime.export.elan import TABLES as ELAN_TABLES
from realtime.export.film import contents, write_film
from realtime.export.formats import Csv, Parquet, check_parquet
from realtime.export.tables import Tables
from realtime.recording.reader import open_recordings
from realtime.system.logs import printable, say_error
from realtime.system.private_file import private_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime.export.columns import Table
    from realtime.export.formats import Sheet
    from realtime.recording.reader import Recording

FORMATS = ("csv", "tsv", "parquet")
ELAN, EAF, BIDS = "elan", "eaf", "bids"
EVERY = (*FORMATS, ELAN, EAF, BIDS)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    cli = argparse.ArgumentParser(
        prog="python -m realtime.export",
        description="Write a recording (--record DIR) as tables; times are seconds since the session began.",
        allow_abbrev=False,
    )
    cli.add_argument("recording", type=Path, metavar="DIR", nargs="?", help="folder of --record, or one of its files")
    cli.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder for STREAM.TABLE.csv and so on")
    cli.add_argument("--csv", action="store_true", help="comma-separated tables (the default)")
    cli.add_argument("--tsv", action="store_true", help="tab-separated tables")
    cli.add_argument("--parquet", action="store_true", help="Parquet tables with types (needs PyArrow)")
    cli.add_argument("--elan", action="store_true", help="one tab-separated file of annotations for ELAN")
    cli.add_argument("--eaf", action="store_true", help="an ELAN file (needs pympi-ling)")
    cli.add_argument("--bids", action="store_true", help="a BIDS dataset in OUT/bids: physio and events of each stream")
    cli.add_argument("--format", action="append", choices=EVERY, default=[], help="the same by name; may be repeated")
    cli.add_argument("--media", action="store_true", help="pictures and sound (.mkv, .wav), where they were recorded")
    cli.add_argument(
        "--tables", metavar="A,B", default=",".join(TABLES), help=f"only these: {', '.join(TABLES)} (default all)"
    )
    cli.add_argument(
        "--safe-cells", action="store_true", help="quote text that a spreadsheet would take for a formula (CSV, TSV)"
    )
    cli.add_argument("--columns", action="store_true", help="print all columns with their meaning, and exit")
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables and return the exit code."""
    args = parser().parse_args(argv)
    try:
        if args.columns:
            print(described())  # noqa: T201 - what was asked for
            return 0
        if args.recording is None or args.output is None:
            raise UsageError("name the recording and the output: python -m realtime.export DIR -o OUT")
        asked = [name for name in EVERY if getattr(args, name) or name in args.format]
        formats = asked or ([] if args.media else ["csv"])
        _check(formats)
        recordings = open_recordings(args.recording)
        if BIDS in formats:
            _write_dataset(args.output / bids.FOLDER, [recording.stream for recording in recordings])
        for recording in recordings:
            made = _exported(recording, args, formats)
            for path in [*made, *(export_media(recording, args.output) if args.media else ())]:
                print(printable(str(path)))  # noqa: T201 - so that a script knows
            for trouble in _troubles(recording):
                print(f"warning: {printable(f'{recording.path}: {trouble}')}", file=sys.stderr)  # noqa: T201
            if recording.about.get("media") and not args.media:
                _hint(f"{recording.path} holds pictures and sound, too: --media")
    except AgfnError as error:
        say_error(error)
        return error.exit_code
    return 0


def _check(formats: Sequence[str]) -> None:
    """See that the libraries are there, before anything is written."""
    if "parquet" in formats:
        check_parquet()
    if EAF in formats:
        check_eaf()


def _write_dataset(folder: Path, streams: Sequence[str]) -> None:
    files = {folder / name: content for name, content in bids.dataset(streams).items()}
    with _new_files(folder, list(files)) as opened:
        for path, content in files.items():
            opened[path].write(content)
    for path in files:
        print(printable(str(path)))  # noqa: T201 - as the others


def _exported(recording: Recording, args: argparse.Namespace, formats: Sequence[str]) -> list[Path]:
    if not formats:
        return []
    return export(recording, args.output, formats, _tables(args.tables), safe_cells=args.safe_cells)


def export(
    recording: Recording, folder: Path, formats: Sequence[str], tables: frozenset[Table], *, safe_cells: bool = False
) -> list[Path]:
    """Write a recording's tables into `folder` and return the files; files appear when they are complete.

    Args:
        recording: to read.
        folder: made when it is not there.
        formats: csv, tsv, parquet, elan, eaf, bids.
        tables: to write.
        safe_cells: in CSV and TSV, put an apostrophe before text that a spreadsheet would calculate.

    Raises:
        UsageError: the folder can't be written, or a file is there already.
        SourceError: the recording is damaged.
    """
    names = [name for name in formats if name in FORMATS]
    paths = {
        (name, table): folder / f"{recording.stream}.{table}.{name}"
        for name in names
        for table in TABLES
        if table in tables
    }
    kept = {ELAN: folder / f"{recording.stream}.{ELAN}.tsv", EAF: folder / f"{recording.stream}.{EAF}"}
    whole = {name: path for name, path in kept.items() if name in formats}
    of_bids = bids.paths(folder, recording.stream) if BIDS in formats else {}
    made = [*paths.values(), *whole.values(), *of_bids.values()]
    with _new_files(folder, made) as files:
        _write(
            recording,
            [(name, table, files[path]) for (name, table), path in paths.items()],
            {name: files[path] for name, path in (whole | of_bids).items()},
            tables,
            safe_cells=safe_cells,
        )
    return made


def export_media(recording: Recording, folder: Path) -> list[Path]:
    """Write a recording's pictures and sound into `folder` and return the files.

    Raises:
        UsageError: it holds none, the folder can't be written, or a file is there already.
        SourceError: the recording is damaged.
    """
    if not (found := contents(recording)).any:
        raise UsageError(f"{recording.path} holds no pictures and no sound: that needs --record-media")
    film, sound = folder / f"{recording.stream}.mkv", folder / f"{recording.stream}.wav"
    made = [film, sound] if found.sound else [film]
    with _new_files(folder, made) as files:
        write_film(recording, found, files[film], files.get(sound))
    return made


def _write(
    recording: Recording,
    outputs: Sequence[tuple[str, Table, IO[bytes]]],
    whole: dict[str, IO[bytes]],
    tables: frozenset[Table],
    *,
    safe_cells: bool,
) -> None:
    """Write tables row by row, and what is made of the whole recording (ELAN, BIDS) at its end."""
    source = Tables(
        recording, (tables if outputs else frozenset()) | (ELAN_TABLES | bids.TABLES if whole else frozenset())
    )
    tiers, participant = Tiers(), bids.Bids(source.hop_s)
    with contextlib.ExitStack() as stack:
        sheets: dict[Table, list[Sheet]] = {}
        for name, table, file in outputs:
            sheet = _sheet(name, table, file, quote_formulas=safe_cells)
            stack.callback(sheet.close)
            sheets.setdefault(table, []).append(sheet)
        for table, row in source.rows():
            for sheet in sheets.get(table, ()):
                sheet.write(row)
            if whole:
                tiers.take(table, row)
                participant.take(table, row)
    if ELAN in whole:
        lines = Csv(whole[ELAN], HEADER, "\t")
        for line in tiers.rows():
            lines.write(line)
        lines.close()
    if EAF in whole:
        write_eaf(tiers, whole[EAF])
    if bids.KINDS[0] in whole:
        participant.write(whole)


def _sheet(name: str, table: Table, file: IO[bytes], *, quote_formulas: bool) -> Sheet:
    if name == "parquet":
        return Parquet(file, TABLES[table])
    separator = "\t" if name == "tsv" else ","
    return Csv(file, [column.name for column in TABLES[table]], separator, quote_formulas=quote_formulas)


@contextlib.contextmanager
def _new_files(folder: Path, paths: Sequence[Path]) -> Iterator[dict[Path, IO[bytes]]]:
    """Open new files of a folder for writing; they appear together, when all is written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in paths:
            if os.path.lexists(path):
                raise UsageError(f"{path} is there already; choose another folder")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as stack:
            yield {path: stack.enter_context(private_file(path)) for path in paths}
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from None


def _tables(names: str) -> frozenset[Table]:
    wanted = {name.strip() for name in names.split(",")}
    if unknown := sorted(wanted - set(TABLES)):
        raise UsageError(f"--tables: no table {', '.join(unknown)}; there are {', '.join(TABLES)}")
    return frozenset(table for table in TABLES if table in wanted)


def _hint(text: str) -> None:
    print(printable(text), file=sys.stderr)  # noqa: T201 - for the person at the terminal


def _troubles(recording: Recording) -> Iterator[str]:
    if recording.truncated:
        yield f"ends early ({recording.truncated}); all that can be read is there"
    if recording.dropped:
        yield f"{recording.dropped} entries are missing: the disk was too slow"


if __name__ == "__main__":
    sys.exit(main())
