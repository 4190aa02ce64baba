"""Labels from tables: how the files that `datasets` describes are read, and what is said of them.

Whoever writes such a file by hand uses what is there: spreadsheets that begin a file with a mark,
end lines as Windows does, and write semicolons and decimal commas where the language has them.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.audio import sound
from minicnn.audio.datasets import Track
from minicnn.audio.targets import suspect_notes
from minicnn.kernels import memory

# How far labels may reach beyond the sound [s]: frames are padded, and ends rounded up.
SLACK = 0.1

# What stands in a row beside the file; voice may have a label more.
COLUMNS = {
    "classes": ("label",),
    "tags": ("tags",),
    "onsets": ("time",),
    "voice": ("start", "end"),
    "pitch": ("time", "frequency"),
    "multi_f0": ("time", "frequency"),
}
VOICED = {"sing", "singing", "voice", "vocal", "vocals", "1"}
UNVOICED = {"nosing", "novoice", "no voice", "instrumental", "silence", "0"}

Row = tuple[int, list[str]]  # the number of the line, and what stands in it


def tracks(source: Path, task: str) -> tuple[str, str, Iterator[Track | str]]:
    """Return the name of a folder, its license, and each of its tracks or what is wrong with it.

    Raises
    ------
    FileNotFoundError
        If there is no table.
    ValueError
        If the table cannot be read, or has not the columns of this task.
    """
    table = source / "labels.csv" if source.is_dir() else source
    if not table.is_file():
        raise FileNotFoundError(f"load: there is no file {str(table)!r}")
    try:
        rows, comma = table_rows(table)
    except ValueError as error:
        raise ValueError(f"load: {error}") from None
    if not rows:
        raise ValueError(f"load: {table} is empty; its first row must name the columns")
    header = [name.strip().lower() for name in rows[0][1]]
    columns = _columns(table, header, task)
    files: dict[str, list[Row]] = {}
    misshapen: dict[str, str] = {}
    room = _RATIO * table.stat().st_size + _ROOM - _ROW * len(rows)
    for line, values in rows[1:]:
        name = values[header.index("file")].strip() if header.index("file") < len(values) else ""
        files.setdefault(name, []).append((line, values))
        if _FILE * len(files) > room:
            raise ValueError(f"load: {table} {_too_many(f'{len(files):,} files by line {line:,}')}")
        if len(values) != len(header) or not name:
            misshapen.setdefault(
                name,
                f"{table.name} line {line} has {len(values)} values, "
                f"{'' if name else 'and no file; '}its columns are {', '.join(header)}",
            )
    license_file = table.parent / "LICENSE"
    license_ = f"see {license_file}" if license_file.is_file() else "unknown"

    def each():
        for name, some in files.items():
            try:
                if name in misshapen:
                    raise ValueError(misshapen[name])
                yield _track(table, header, columns, task, name, some, comma)
            except (ValueError, OSError) as error:
                yield f"{name or 'a row without a file'}: {error}"

    return str(table.parent), license_, each()


def _columns(table, header, task):
    """Return the columns that hold the labels; raise if they are not there."""
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise ValueError(f"load: {table} has two columns {', '.join(sorted(twice))}")
    wanted = COLUMNS[task]
    in_files = task not in ("classes", "tags")
    if "file" in header and in_files and "labels" in header:
        return ("labels",)
    if "file" in header and set(wanted) <= set(header):
        return (*wanted, "label") if task == "voice" and "label" in header else wanted
    raise ValueError(
        f"load: {table} has columns {', '.join(header)}; {task} needs file, {', '.join(wanted)}"
        + (", or file, labels" if in_files else "")
    )


def _track(table, header, columns, task, name, rows, comma):
    """Return a track; raise ValueError if anything is wrong with it."""
    path = _inside(table.parent, name)
    duration = _duration(path)
    places = [header.index(column) for column in columns]
    cells = [(line, [values[place].strip() for place in places]) for line, values in rows]
    split = None
    if "split" in header:
        splits = {values[header.index("split")].strip() for _, values in rows}
        if len(splits) > 1:
            raise ValueError(f"{table.name} line {rows[0][0]}: it is in {sorted(splits)} at once")
        split = splits.pop() or None
    if columns == ("labels",):
        if len(cells) > 1:
            raise ValueError(f"{table.name} line {cells[1][0]}: it has labels twice")
        file = _inside(table.parent, cells[0][1][0])
        read: Callable[[], Any] = partial(_label_of_file, file, task, duration)
        read()  # so that what is wrong is said now; it is not kept, since it may be long
    else:
        label = _label(table.name, cells, task, duration, comma)
        read = partial(_same, label)
    return Track(name, path, split, read=read)


def _same(label):
    return label


def _inside(folder, name):
    """Return the path of a file that a table names; raise if the name leads out of the folder.

    Links are followed: sounds are often kept elsewhere, and no table can make a link.
    """
    plain = folder / name
    # A table from Windows may be read elsewhere, where a backslash is a letter.
    if not plain.exists() and "\\" in name:
        plain = folder / name.replace("\\", "/")
    home, path = (os.path.abspath(each) for each in (folder, plain))
    if os.path.commonpath([home, path]) != home:
        raise ValueError(f"{name} is not inside of {folder}")
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    return Path(path)


def _duration(path):
    """Return how long a sound is [s]; raise if it is none."""
    with sound.opened(path, "load") as file:
        if not file.frames:
            raise ValueError("there are no samples")
        return file.frames / file.samplerate


def _label_of_file(path, task, duration):
    rows, comma = table_rows(path, task)
    if rows and not any(_is_number(value, comma) for value in rows[0][1]):
        rows = rows[1:]  # names of columns
    cells = [(line, [value.strip() for value in values]) for line, values in rows]
    least = len(COLUMNS[task]) - (task == "multi_f0")
    most = {"multi_f0": math.inf, "voice": 3}.get(task, least)
    for line, values in cells:
        if not least <= len(values) <= most:
            raise ValueError(
                f"{path.name} line {line} has {len(values)} values; {task} needs "
                f"{', '.join(COLUMNS[task])}"
            )
    return _label(path.name, cells, task, duration, comma)


def _label(file, cells, task, duration, comma):
    """Return the label of a track from its rows."""
    where = f"{file} line"
    if task == "classes":
        return _class(where, cells)
    if task == "tags":
        tags = [tag.strip() for _, (some,) in cells for tag in some.split(";")]
        return tuple(tag for tag in dict.fromkeys(tags) if tag)
    cells = [(line, values) for line, values in cells if any(values)]
    if task == "voice":
        return _segments(where, cells, duration, comma)
    times = [_time(where, line, values[0], duration, comma) for line, values in cells]
    if task == "onsets":
        return np.sort(np.array(times, np.float64))
    pitches = [
        [_frequency(where, line, value, comma) for value in values[1:] if value]
        for line, values in cells
    ]
    return _series(where, [line for line, _ in cells], times, pitches, task)


def _class(where, cells):
    names = {name for _, (name,) in cells}
    if names == {""}:
        raise ValueError(f"{where} {cells[0][0]}: it has no label")
    if len(names) > 1:
        raise ValueError(f"{where} {cells[-1][0]}: it has the labels {sorted(names)} at once")
    return names.pop()


def _segments(where, cells, duration, comma):
    found = []
    for line, (start, end, *label) in cells:
        first, last = (_time(where, line, value, duration, comma) for value in (start, end))
        if not first < last:
            raise ValueError(
                f"{where} {line}: a segment from {first:g} to {last:g} s has no length"
            )
        word = label[0].lower() if label else "voice"
        if word not in VOICED | UNVOICED:
            raise ValueError(
                f"{where} {line}: label is {label[0]!r}; a voice is {', '.join(sorted(VOICED))}; "
                f"none is {', '.join(sorted(UNVOICED))}"
            )
        if word in VOICED:
            found.append((first, last))
    return np.array(sorted(found), np.float64).reshape(-1, 2)


def _series(where, lines, times, pitches, task):
    """Return times and frequencies; raise if times go back, or stay where there is one pitch."""
    frames: list[float] = []
    found: list[list[float]] = []
    for line, time, some in zip(lines, times, pitches, strict=True):
        again = bool(frames) and time == frames[-1]
        if frames and (time < frames[-1] or (again and task == "pitch")):
            raise ValueError(
                f"{where} {line}: {time:g} s follows {frames[-1]:g} s; times must grow"
            )
        if not again:
            frames.append(time)
            found.append([])
        found[-1] += some
    suspect_notes(f"load: {where.removesuffix(' line')}", np.concatenate([[0.0], *found]))
    if task == "pitch":
        frequencies = np.array([some[0] if some else 0.0 for some in found], np.float64)
        return np.array(frames, np.float64), frequencies
    heard = [np.array([each for each in some if each], np.float64) for some in found]
    return np.array(frames, np.float64), heard


def _time(where, line, text, duration, comma):
    time = _number(text, comma)
    if not 0 <= time < math.inf:
        raise ValueError(f"{where} {line}: a time is {text!r}; it must be seconds from 0 on")
    if time > duration + SLACK:
        unit = "; are they milliseconds?" if time > 100 * duration else ""
        raise ValueError(f"{where} {line}: {time:g} s is beyond the end at {duration:.3f} s{unit}")
    return time


def _frequency(where, line, text, comma):
    frequency = _number(text, comma)
    if not 0 <= frequency < math.inf:
        raise ValueError(f"{where} {line}: a frequency is {text!r}; it must be Hz, or 0 for none")
    return frequency


def _is_number(text, comma):
    return not math.isnan(_number(text, comma)) or text.strip().lower() == "nan"


def _number(text, comma):
    """Return a number, NaN where there is none; `comma` says that decimals may follow one."""
    try:
        return float(text.replace(",", ".") if comma else text)
    except ValueError:
        return math.nan


def table_rows(path: Path, task: str | None = None) -> tuple[list[Row], bool]:
    """Return all rows that are not blank, and whether a comma is not between them.

    A table names its columns, so its first row has what is between; a file of labels, with a task,
    may begin with a row of one value.

    Raises
    ------
    ValueError
        If it is no text, quotation marks in it are not closed, or it is so large, and its rows so
        short, that they take far more memory than it has bytes.
    """
    size = path.stat().st_size
    memory.demand(5 * size, f"load: {path.name}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is no UTF-8 text, at byte {error.start}; save it as CSV in UTF-8"
        ) from None
    # Where there is one column, a comma is a decimal one.
    marks = ";\t" if task and len(COLUMNS[task]) == 1 else ";\t,"
    shown = text if task else next((line for line in _lines(path, text) if line.strip()), "")
    between = next((mark for mark in marks if mark in shown), " ")
    rows: list[Row] = []
    room = _RATIO * size + _ROOM
    for line, values in _split(path, text, between):
        row = "".join(values)
        if row.strip():
            if "\n" in row or "\r" in row:
                raise ValueError(f"{path.name} line {line}: a value has several lines")
            rows.append((line, values))
            room -= _ROW + _CELL * len(values)
            if room < 0:
                raise ValueError(f"{path.name} {_too_many(f'{len(rows):,} rows by line {line:,}')}")
    return rows, between != ","


# What rows, what stands in them, and files that they name take in memory [bytes]. All rows of a
# table take six times its size at most, and this much beside: the text itself may take four times.
_ROW, _CELL, _FILE, _RATIO, _ROOM = 200, 60, 200, 6, 1 << 26
_LONGEST = 1 << 20  # characters of a line


def _too_many(what):
    return (
        f"has {what}: what so many short ones take is more than {_RATIO} times the file; give each "
        "sound a file of labels"
    )


def _split(path, text, between):
    """Yield the number of each line, and what stands in it."""
    if between == " ":
        yield from ((number, line.split()) for number, line in enumerate(_lines(path, text), 1))
        return
    reader = csv.reader(_lines(path, text), delimiter=between, strict=True)
    try:
        for values in reader:
            yield reader.line_num, values
    except csv.Error as error:
        raise ValueError(f"{path.name} line {reader.line_num}: {error}") from None


def _lines(path, text):
    """Yield lines with their ends; raise where one is too long."""
    for number, found in enumerate(re.finditer(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text), 1):
        if (length := found.end() - found.start()) > _LONGEST:
            raise ValueError(
                f"{path.name} line {number} has {length:,} characters; {_LONGEST:,} are taken"
            )
        yield found.group()
