"""Formats of QUBO problems in JSON: rows, coordinates, and dimod's binary quadratic models.

Syntax is refused by line and column, what is wrong in a model by its path; a matrix is checked by the server alone.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from qfast.formats import MAX_ENTRIES, MAX_VARIABLES, Model, SourceError, shown


def read_json(name: str, text: str) -> list[Model]:
    """Rows, a matrix in coordinates, a model of dimod, or a list of these; what the server checks is left to it."""
    value = _loaded(name, text)
    if isinstance(value, dict):
        return [_model(name, value)]
    if not isinstance(value, list) or not value:
        raise SourceError(f"{name}: expected a matrix or a list of matrices, got {shown_json(value)}")
    if isinstance(value[0], list) and not any(isinstance(cell, list) for cell in value[0]):
        return [Model(value)]
    return [_model(f"{name}, [{place}]", entry) for place, entry in enumerate(value)]


def read_bqm_json(name: str, text: str) -> list[Model]:
    """One model of dimod and nothing else."""
    return [read_bqm(name, _loaded(name, text))]


def _model(name: str, value: Any) -> Model:
    return read_bqm(name, value) if is_bqm(value) else Model(value)


def _loaded(name: str, text: str) -> Any:
    def refuse(word: str, why: str) -> NoReturn:
        found = re.search(rf"(?<![\w.+-]){re.escape(word)}(?![\w.])", text)
        before = text[: found.start() if found else 0]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise SourceError(f"{name}, line {line}, column {column}: {why}")

    def constant(word: str) -> Any:
        refuse(word, f"{word} is not a number that JSON knows")

    def real(word: str) -> float:
        value = float(word)
        if math.isinf(value):
            refuse(word, f"expected a number within float64, got {shown(word)}")
        return value

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise SourceError(f"{name}: the member {shown(twice)} is given twice")
        return value

    try:
        return json.loads(text, parse_constant=constant, parse_float=real, object_pairs_hook=members)
    except json.JSONDecodeError as error:
        raise SourceError(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise SourceError(f"{name}: lists within lists, too deep for a matrix") from None
    except SourceError:
        raise
    except ValueError:  # the only other one: an integer of more than sys.get_int_max_str_digits()
        raise SourceError(f"{name}: a number has thousands of digits") from None


# ---------------------------------------------------------------------- dimod


def is_bqm(value: Any) -> bool:
    """Whether it is what dimod's ``to_serializable`` gives for a binary quadratic model."""
    if not isinstance(value, dict):
        return False
    version = value.get("version")
    return value.get("type") == "BinaryQuadraticModel" or (isinstance(version, dict) and "bqm_schema" in version)


def read_bqm(name: str, value: Any) -> Model:
    """A binary quadratic model, as JSON by schema 3; a spin s is 2 x - 1.

    h s is 2 h x - h, and J s t is 4 J x y - 2 J x - 2 J y + J: the constants go to the energy that the notes tell.
    """

    def fail(path: str, expected: str, got: Any) -> NoReturn:
        raise SourceError(f"{name}: {path}: expected {expected}, got {shown_json(got)}")

    def vector(key: str, length: int | None = None, below: int | None = None) -> list[Any]:
        entries = value.get(key)
        if not isinstance(entries, list):
            fail(key, "a list", entries)
        if length is not None and len(entries) != length:
            fail(key, f"{length} entries", len(entries))
        for place, entry in enumerate(entries):
            if below is None:
                if not _is_number(entry):
                    fail(f"{key}[{place}]", "a number", entry)
            elif isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry < below:
                fail(f"{key}[{place}]", f"a variable in 0..{below - 1}", entry)
        return entries

    if not is_bqm(value):
        fail("type", "BinaryQuadraticModel", value.get("type") if isinstance(value, dict) else value)
    version = value.get("version")
    schema = version.get("bqm_schema") if isinstance(version, dict) else version
    if not str(schema).startswith("3."):
        fail("version.bqm_schema", '"3.0.0"', schema)
    if value.get("use_bytes"):
        fail("use_bytes", "false: write the model with to_serializable(use_bytes=False)", True)
    spin = value.get("variable_type") == "SPIN"
    if not spin and value.get("variable_type") != "BINARY":
        fail("variable_type", '"BINARY" or "SPIN"', value.get("variable_type"))
    linear = vector("linear_biases")
    n = len(linear)
    if not 1 <= n <= MAX_VARIABLES:
        fail("linear_biases", f"1 to {MAX_VARIABLES} variables", n)
    quadratic = vector("quadratic_biases")
    if len(quadratic) > MAX_ENTRIES:
        fail("quadratic_biases", f"at most {MAX_ENTRIES} interactions", len(quadratic))
    head, tail = (vector(f"quadratic_{end}", len(quadratic), n) for end in ("head", "tail"))
    for place, (i, j) in enumerate(zip(head, tail, strict=True)):
        if i == j:
            fail(f"quadratic_tail[{place}]", f"another variable than {i}", j)
    offset = value.get("offset", 0)
    if not _is_number(offset):
        fail("offset", "a number", offset)
    constant = total([offset, *(-h for h in linear), *quadratic]) if spin else offset
    if spin:
        at: list[list[int | float]] = [[h] for h in linear]
        for i, j, bias in zip(head, tail, quadratic, strict=True):
            at[i].append(-bias)
            at[j].append(-bias)
        linear, quadratic = [2 * total(biases) for biases in at], [4 * bias for bias in quadratic]
    if not all(map(_is_number, (constant, *linear, *quadratic))):
        fail("linear_biases", "biases whose sums are within float64", math.inf)
    matrix = {"n": n, "row": [*range(n), *head], "col": [*range(n), *tail], "value": [*linear, *quadratic]}
    notes = ["spins are s = 2x - 1"] if spin else []
    labels = value.get("variable_labels")
    if isinstance(labels, list) and labels != list(range(n)):
        notes.append("x_k is the variable variable_labels[k]")
    return Model(matrix, f"energy = {constant} + {{}}" if constant or spin else "", tuple(notes))


def _is_number(value: Any) -> bool:
    """Whether it is a number within float64; comparing does not convert, and so takes integers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def total(values: Sequence[int | float]) -> int | float:
    """The sum; of floats rounded once, infinite beyond float64."""
    if all(isinstance(value, int) for value in values):
        return sum(values)
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def shown_json(value: Any) -> str:
    """A JSON value in an error."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    return "nothing" if value is None else shown(value) if isinstance(value, str) else str(value)[:40]
