"""Which settings make a run fit into the memory that is free. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from amid.config import LoraCfg, RunCfg
from amid.memory.phases import GIB, Phase
from amid.sweep.memory import largest

LORA_RANK = 16


@dataclass(frozen=True)
class Change:
    """A setting, as the command line has it, and the run with it."""

    setting: str
    apply: Callable[[RunCfg], RunCfg]


def shortage(run: RunCfg, phase: Phase, *, free: int, device: str, made: Iterable[str] = ()) -> str | None:
    """What to say of a run whose largest phase needs more than the free bytes of a device; None if it fits.

    Settings are tried alone, in order, from the mildest value on, then together.
    """
    if phase.total <= free:
        return None
    accelerator = device != "cpu"
    need = f"memory of pair {run.pair.name}: {phase}, and {free / GIB:.2f} GiB are free on {device}"
    made = frozenset(made)

    def bytes_of(changed: RunCfg) -> int:
        return largest(changed, accelerator=accelerator, made=made).total

    changes = _changes(run)
    for values in changes:
        for change in values:
            if bytes_of(change.apply(run)) <= free:
                return f"{need}; {change.setting} would make it fit"
    chosen, changed, total = list[str](), run, phase.total
    while changes:
        # What was of no use may be of use after another: each part of a run has its own
        useful = [each for each in changes if bytes_of(each[-1].apply(changed)) < total]
        if not useful:
            break
        values = useful[0]
        changes.remove(values)
        for change in values:
            tried = change.apply(changed)
            if (less := bytes_of(tried)) <= free:
                return f"{need}; {' '.join([*chosen, change.setting])} would make it fit"
        changed, total = tried, less
        chosen.append(change.setting)
    smallest = f"{' '.join(chosen)} would need {total / GIB:.2f} GiB" if chosen else "no setting needs less"
    return f"{need}; {smallest}: take smaller models or shorter texts (data.max_tokens)"


def _changes(run: RunCfg) -> list[list[Change]]:
    """Settings in the order in which they are tried, each with its values from the mildest on."""
    trainer, pair = run.trainer, run.pair
    rows = max(1, run.train.global_batch_size // trainer.devices)
    found = [
        [_trainer(micro_batch_size=number) for number in _halves(min(trainer.micro_batch_size or rows, rows))],
        [] if trainer.gradient_checkpointing else [_trainer(gradient_checkpointing=True)],
        [_trainer(generation_batch_size=number) for number in _halves(trainer.generation_batch_size)],
        [] if pair.teacher_dtype != "float32" else [_pair(teacher_dtype="bfloat16")],
        [] if pair.student_lora.rank else [_lora()],
    ]
    return [values for values in found if values]


def _halves(number: int) -> Sequence[int]:
    """The number halved until it is 1."""
    found = []
    while number > 1:
        number //= 2
        found.append(number)
    return found


def _trainer(**values: int | bool) -> Change:
    [(name, value)] = values.items()
    shown = "true" if value is True else str(value)
    return Change(f"trainer.{name}={shown}", lambda run: replace(run, trainer=replace(run.trainer, **values)))  # type: ignore[arg-type]  # one of its fields


def _pair(**values: str) -> Change:
    [(name, value)] = values.items()
    return Change(f"pair.{name}={value}", lambda run: replace(run, pair=replace(run.pair, **values)))  # type: ignore[arg-type]  # one of its fields


def _lora() -> Change:
    def apply(run: RunCfg) -> RunCfg:
        return replace(run, pair=replace(run.pair, student_lora=LoraCfg(rank=LORA_RANK)))

    return Change(f"pair.student_lora.rank={LORA_RANK}", apply)
