"""Formats of QUBO problems made of lines: qbsolv, Matrix Market, and the graphs of rudy and the G-set; each to one matrix.

Every fault is a `SourceError` that names the line, the column and what was expected there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

MAX_VARIABLES = 20_000  # what the server takes
MAX_ENTRIES = 5_000_000  # in coordinates: about what fills a request
MAX_CELLS = 40_000_000  # in rows
MAX_DIGITS = 1000  # of one number
EXACT = 2**53  # integers beyond it are no float64

NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
INTEGER = re.compile(r"[-+]?[0-9]+")
_COUNT = re.compile(r"[0-9]{1,9}")
_WORD = re.compile(r"\S+")
_PLAIN_ENTRY = re.compile(r"\s*([0-9]{1,9})\s+([0-9]{1,9})\s+([-+]?[0-9]{1,15})\s*")


class SourceError(ValueError):
    """A file holds neither a program nor a matrix; the text says where it stops being one."""


@dataclass(frozen=True)
class Model:
    """What a file asks to minimise: ``x^T Q x`` and what it means in the terms of the file.

    Attributes
    ----------
    matrix : list of rows, or dict of n, row, col, value
    objective : str
        The quantity of the file, with ``{}`` where x^T Q x, or what is left of it when negated, belongs; "" if that itself.
    notes : tuple of str
        What the user should know.
    sense : str
        ``open`` where the file leaves open whether to minimise, ``min`` where it is understood, ``max-cut`` for a graph.
    """

    matrix: Any
    objective: str = ""
    notes: tuple[str, ...] = ()
    sense: str = "min"


def number(text: str) -> int | float:
    """The value of a NUMBER; an integer stays one.

    Raises
    ------
    ValueError
        What was expected instead.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of at most {MAX_DIGITS} characters")
    if INTEGER.fullmatch(text):
        value = int(text)
        if abs(value) > EXACT:
            raise ValueError("an integer up to 2^53, or a decimal point to allow rounding")
        return value
    real = float(text)
    if math.isinf(real):
        raise ValueError("a number within float64")
    return real


class Lines:
    """The lines of a file, and the errors that point into them."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def fail(self, line: int, word: int, expected: str) -> NoReturn:
        """Refuse the `word`-th word of a line (from 0; beyond the last: its end), which is not what was expected."""
        content = self.lines[line - 1] if line <= len(self.lines) else ""
        words = list(_WORD.finditer(content))
        if word < len(words):
            column, got = words[word].start() + 1, shown(words[word].group())
        else:
            column = len(content.rstrip()) + 1
            got = "the end of the " + ("line" if line <= len(self.lines) else "file")
        raise SourceError(f"{self.name}, line {line}, column {column}: expected {expected}, got {got}")

    def short(self, expected: str) -> NoReturn:
        """Refuse a file that ends too early."""
        self.fail(len(self.lines) + 1, 0, expected)

    def words(self, line: int, content: str, expected: Sequence[str]) -> list[str]:
        """The words of a line, as many as are expected."""
        words = content.split()
        if len(words) != len(expected):
            place = min(len(words), len(expected))
            self.fail(line, place, expected[place] if place < len(expected) else "the end of the line")
        return words

    def count(self, line: int, place: int, text: str, asked: tuple[str, int, int]) -> int:
        """A whole number: what it is, from where, to where."""
        what, low, high = asked
        if not _COUNT.fullmatch(text) or not low <= int(text) <= high:
            self.fail(line, place, f"{what} in {low}..{high}")
        return int(text)

    def value(self, line: int, place: int, text: str, integer: bool = False) -> int | float:
        """A number, or an integer where only that is allowed."""
        if not (INTEGER if integer else NUMBER).fullmatch(text):
            self.fail(line, place, "an integer" if integer else "a number")
        try:
            return number(text)
        except ValueError as error:
            self.fail(line, place, str(error))

    def entry(
        self, line: int, content: str, asked: tuple[tuple[str, int, int], tuple[str, int, int]], integer: bool = False
    ) -> tuple[int, int, int | float]:
        """Two whole numbers and a value; most lines of most files pass by the first expression alone."""
        (_, low, high), (_, low2, high2) = asked
        if plain := _PLAIN_ENTRY.fullmatch(content):
            i, j = int(plain[1]), int(plain[2])
            if low <= i <= high and low2 <= j <= high2:
                return i, j, int(plain[3])
        words = self.words(line, content, (asked[0][0], asked[1][0], "a value"))
        i, j = (self.count(line, place, words[place], asked[place]) for place in (0, 1))
        return i, j, self.value(line, 2, words[2], integer)


def shown(text: str) -> str:
    """A piece of a file in an error, cut to 40 characters."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


class Coordinates:
    """Entries on their way to a sparse matrix."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.row: list[int] = []
        self.col: list[int] = []
        self.entries: list[int | float] = []

    def add(self, i: int, j: int, value: int | float) -> None:
        """Add to entry (i, j), counted from 0."""
        self.row.append(i)
        self.col.append(j)
        self.entries.append(value)

    def matrix(self) -> dict[str, Any]:
        """The wire's own form."""
        return {"n": self.n, "row": self.row, "col": self.col, "value": self.entries}


# ---------------------------------------------------------------------- qbsolv


def read_qbsolv(name: str, text: str) -> Model:
    """A ``.qubo`` file: comments ``c ...``, ``p qubo 0 maxNodes nNodes nCouplers``, then ``i i value`` and ``i j value``."""
    file = Lines(name, text)
    content = ((line, words) for line, words in enumerate(file.lines, 1) if words.strip() and not words.startswith("c"))
    line, head = next(content, (0, ""))
    names = ("'p'", "'qubo'", "a topology such as 0", "maxNodes", "nNodes", "nCouplers")
    if not line:
        file.short("the line 'p qubo 0 maxNodes nNodes nCouplers'")
    for place, word in enumerate(head.split()[:2]):
        if word != ("p", "qubo")[place]:
            file.fail(line, place, "the line 'p qubo 0 maxNodes nNodes nCouplers'")
    words = file.words(line, head, names)
    n = file.count(line, 3, words[3], (names[3], 1, MAX_VARIABLES))
    promised = (
        file.count(line, 4, words[4], (names[4], 0, n)),
        file.count(line, 5, words[5], (names[5], 0, min(n * (n - 1) // 2, MAX_ENTRIES))),
    )
    ends = (("node i", 0, n - 1), ("node j", 0, n - 1))
    found = Coordinates(n)
    counted = [0, 0]
    seen: dict[int, int] = {}
    for line, row in content:
        i, j, value = file.entry(line, row, ends)
        if j < i:
            file.fail(line, 1, f"node j, after or the same as {i}")
        kind = int(i != j)
        counted[kind] += 1
        if counted[kind] > promised[kind]:
            file.fail(line, 0, f"no more than {promised[kind]} {('nodes', 'couplers')[kind]}, as line 'p' says")
        if (first := seen.setdefault(i * n + j, line)) != line:
            file.fail(line, 0, f"each pair once ({i} {j} is on line {first} already)")
        found.add(i, j, value)
    for kind, what in enumerate(("nodes", "couplers")):
        if counted[kind] < promised[kind]:
            file.short(f"{promised[kind]} {what}, as line 'p' says, not {counted[kind]}")
    return Model(found.matrix(), sense="open")


# ---------------------------------------------------------------------- rudy and G-set


def read_rudy(name: str, text: str) -> Model:
    """A graph for max-cut: comments ``#``, ``nodes edges``, ``i j`` or ``i j weight`` for each edge; nodes count from 1.

    An edge is cut when x_i + x_j - 2 x_i x_j = 1, so the sum of weight (2 x_i x_j - x_i - x_j) is minus the cut.
    """
    file = Lines(name, text)
    content = ((line, words) for line, words in enumerate(file.lines, 1) if words.strip() and words[0] != "#")
    line, head = next(content, (1, ""))
    words = file.words(line, head, ("the number of nodes", "the number of edges"))
    n = file.count(line, 0, words[0], ("the number of nodes", 1, MAX_VARIABLES))
    edges = file.count(line, 1, words[1], ("the number of edges", 0, min(n * (n - 1) // 2, MAX_ENTRIES)))
    ends = (("node i", 1, n), ("node j", 1, n))
    found = Coordinates(n)
    degree: list[int | float] = [0] * n
    seen: dict[int, int] = {}
    for line, row in content:
        weighted = row if len(row.split()) != 2 else f"{row} 1"
        i, j, weight = file.entry(line, weighted, ends)
        if i == j:
            file.fail(line, 1, f"an edge to another node than {i}")
        i, j = i - 1, j - 1
        if (first := seen.setdefault(min(i, j) * n + max(i, j), line)) != line:
            file.fail(line, 0, f"each edge once ({i + 1} {j + 1} is on line {first} already)")
        if len(seen) > edges:
            file.fail(line, 0, f"no more than {edges} edges, as the head says")
        found.add(i, j, 2 * weight)
        degree[i] += weight
        degree[j] += weight
    if len(seen) < edges:
        file.short(f"{edges} edges, as the head says, not {len(seen)}")
    for node, weight in enumerate(degree):
        found.add(node, node, -weight)
    return Model(found.matrix(), "cut = -{}", (f"max-cut of {n} nodes and {edges} edges",), "max-cut")


# ---------------------------------------------------------------------- Matrix Market


def read_matrix_market(name: str, text: str) -> Model:
    """A square ``.mtx`` matrix: coordinate or array, integer or real, general or symmetric."""
    file = Lines(name, text)
    banner = _banner(file)
    content = (
        (line, words)
        for line, words in enumerate(file.lines, 1)
        if line > 1 and words.strip() and not words.startswith("%")
    )
    sizes = ("rows", "columns", "entries")[: 3 if banner.coordinate else 2]
    line, head = next(content, (0, ""))
    if not line:
        file.short(f"the line with the numbers of {', '.join(sizes)}")
    words = file.words(line, head, [f"the number of {size}" for size in sizes])
    n = file.count(line, 0, words[0], ("the number of rows", 1, MAX_VARIABLES))
    if file.count(line, 1, words[1], ("the number of columns", 1, MAX_VARIABLES)) != n:
        file.fail(line, 1, f"as many columns as rows ({n}): a QUBO matrix is square")
    if not banner.coordinate:
        if n * n > MAX_CELLS:
            file.fail(line, 0, f"at most {MAX_CELLS} cells")
        return Model(_array(file, content, n, banner))
    entries = file.count(line, 2, words[2], ("the number of entries", 0, MAX_ENTRIES))
    return Model(_coordinate(file, content, (n, entries), banner))


class _Banner(NamedTuple):
    """The first line of Matrix Market."""

    coordinate: bool  # else an array
    integer: bool  # else real
    symmetric: bool  # only the lower triangle is stored


def _banner(file: Lines) -> _Banner:
    allowed = (("%%matrixmarket",), ("matrix",), ("coordinate", "array"), ("integer", "real"), ("general", "symmetric"))
    words = (file.lines[0] if file.lines else "").lower().split()
    for place, choices in enumerate(allowed):
        if place >= len(words) or words[place] not in choices:
            file.fail(1, place, " or ".join(choices) if place else "%%MatrixMarket")
    if len(words) > len(allowed):
        file.fail(1, len(allowed), "the end of the line")
    return _Banner(words[2] == "coordinate", words[3] == "integer", words[4] == "symmetric")


def _coordinate(
    file: Lines, content: Iterator[tuple[int, str]], size: tuple[int, int], banner: _Banner
) -> dict[str, Any]:
    n, entries = size
    places = (("row i", 1, n), ("column j", 1, n))
    found = Coordinates(n)
    for line, row in content:
        if len(found.row) == entries:
            file.fail(line, 0, f"no more than {entries} entries, as the size line says")
        i, j, value = file.entry(line, row, places, banner.integer)
        if banner.symmetric and j > i:
            file.fail(line, 1, f"a column up to {i}: a symmetric file holds the lower triangle")
        found.add(i - 1, j - 1, 2 * value if banner.symmetric and i != j else value)
    if len(found.row) < entries:
        file.short(f"{entries} entries, as the size line says, not {len(found.row)}")
    return found.matrix()


def _array(file: Lines, content: Iterator[tuple[int, str]], n: int, banner: _Banner) -> list[list[int | float]]:
    rows: list[list[int | float]] = [[0] * n for _ in range(n)]
    for j in range(n):  # column by column
        for i in range(j if banner.symmetric else 0, n):
            line, row = next(content, (0, ""))
            if not line:
                file.short(f"the value of row {i + 1}, column {j + 1}")
            (word,) = file.words(line, row, ("a value",))
            rows[i][j] = file.value(line, 0, word, banner.integer)
            if banner.symmetric:
                rows[j][i] = rows[i][j]
    line, _ = next(content, (0, ""))
    if line:
        file.fail(line, 0, f"the end of the file after {n} columns")
    return rows
