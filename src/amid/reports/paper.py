"""The numbers that the paper prints, from `sweeps/paper/`: facts with their source. No torch here.

Where two numbers of the paper contradict each other, both stand as printed and are marked as doubtful.
"""

from __future__ import annotations

import csv
import functools
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amid.config import config_root
from amid.errors import unknown_name
from amid.reports.table import PaperNumber

# The paper's name of a set and its metric -> ours. FLORES-200 is no pair of languages that we ask for by default.
SETS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("dolly_eval", "rouge_l"): ("dolly", "rouge_l"),
    ("self_inst", "rouge_l"): ("self_inst", "rouge_l"),
    ("vicuna", "rouge_l"): ("vicuna", "rouge_l"),
    ("super_ni", "rouge_l"): ("super_ni", "rouge_l"),
    ("unni", "rouge_l"): ("un_ni", "rouge_l"),
    ("dialogsum", "rouge_l"): ("dialogsum", "rouge_l_plain"),
    ("gsm8k", "accuracy"): ("gsm8k", "gsm8k_accuracy"),
    ("flores200_asm_eng", "comet"): ("flores200_asm_eng", "comet"),
}
VALIDATION, AVERAGE = "dolly_valid", "avg"
FLAG = re.compile(r"FLAG:? (.*?)(?:; (?:sgo|lambda)\b.*)?$")
BLOCKS = {2: "student", 4: "sgo", 1: "student", 5: "student", 6: "student"}  # else by divergence
ROUNDING = 0.0101  # of a printed mean of printed means: half a unit of each


@dataclass(frozen=True)
class PaperRow:
    """One row of a table of the paper, its numbers by our names of sets, `Val.` and `Avg.`.

    divergence: as printed, such as KL(p||r). alpha: as intended, `null` without an assistant, None where none is said.
    chosen: it is the best alpha that is neither -1 nor 1.
    """

    block: str
    student: str
    teacher: str
    divergence: str
    sgo: str
    alpha: str | None
    chosen: bool
    name: str
    numbers: Mapping[str, PaperNumber]
    is_teacher: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper. sets: by our names, in its order, with their metrics. has_average: Avg. and Val. too."""

    number: int
    rows: tuple[PaperRow, ...]
    sets: Mapping[str, str]
    has_average: bool


def paper_names() -> list[str]:
    """The tables that there are: table1 and so on."""
    return sorted(path.stem for path in _folder().glob("*.csv"))


@functools.cache
def paper_table(name: str) -> PaperTable:
    """A table of the paper by its name. Raises RequestError for one that is not there, with the valid names."""
    if name not in paper_names():
        raise unknown_name("paper table", name, paper_names())
    with (_folder() / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    number = int(lines[0]["table"])
    sets = {
        SETS[key][0]: SETS[key][1]
        for key in dict.fromkeys((line["dataset"], line["metric"]) for line in lines)
        if key in SETS
    }
    rows: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for line in lines:
        key = tuple(line[each] for each in ("student", "method_or_divergence", "assistant", "sgo", "alpha_intended"))
        rows.setdefault(key, []).append(line)
    made = tuple(_row(number, each) for each in rows.values())
    return PaperTable(number, made, sets, any(line["dataset"] == AVERAGE for line in lines))


def _folder() -> Path:
    return config_root() / "sweeps" / "paper"


def _row(number: int, lines: list[dict[str, str]]) -> PaperRow:
    first = lines[0]
    flags = tuple(dict.fromkeys(match[1] for line in lines if (match := FLAG.search(line["note"]))))
    found = {_place(line): line for line in lines}
    printed = [float(line["mean"]) for line in lines if line["dataset"] not in (VALIDATION, AVERAGE)]
    doubtful = {place for place, line in found.items() if any(line["dataset"] in flag for flag in flags)}
    if "Avg." in found and abs(statistics.fmean(printed) - float(found["Avg."]["mean"])) > ROUNDING:
        doubtful.add("Avg.")
    numbers = {
        place: PaperNumber(float(line["mean"]), float(line["std"]) if line["std"] else None, place in doubtful)
        for place, line in found.items()
    }
    alpha = "null" if first["assistant"] == "q" else first["alpha_intended"] or None
    divergence = first["method_or_divergence"]
    by = BLOCKS.get(number)
    return PaperRow(
        block=first[by] if by else divergence,
        student=first["student"],
        teacher=first["teacher"],
        divergence=divergence,
        sgo=first["sgo"],
        alpha=None if alpha is None or alpha.startswith("not") else alpha if alpha == "null" else f"{float(alpha):g}",
        chosen=first["alpha"].startswith("not"),
        name=divergence,
        numbers=numbers,
        is_teacher=divergence == "Teacher",
        flags=flags,
    )


def _place(line: Mapping[str, str]) -> str:
    if line["dataset"] == VALIDATION:
        return "Val."
    return "Avg." if line["dataset"] == AVERAGE else SETS[line["dataset"], line["metric"]][0]
