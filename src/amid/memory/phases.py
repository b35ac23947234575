"""What is in memory at once: in a training step, in its validation, while text is written. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amid.memory.parts import (
    ADAMW_STATES,
    Arithmetic,
    Model,
    alive_in_layer,
    arithmetic,
    cache,
    kept,
    loss_buffers,
    reading,
)
from amid.memory.shapes import Shape

GIB = 2**30
SHOWN = 3  # parts of a phase in a line
VALIDATION_COPIES = 2  # float32 logits of a validation batch, and their logarithms


@dataclass(frozen=True)
class Phase:
    """What is in memory together: part -> bytes. name: as a line calls it.

    on_host: bytes that stay in the memory of the CPU where the models are on an accelerator.
    """

    name: str
    parts: Mapping[str, int]
    on_host: int = 0

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:SHOWN]
        shown = ", ".join(f"{part} {num_bytes / GIB:.2f}" for part, num_bytes in largest if num_bytes >= GIB / 200)
        if not shown:
            return f"up to {self.total / GIB:.2f} GiB {self.name}"
        return f"up to {self.total / GIB:.2f} GiB {self.name} ({shown})"


@dataclass(frozen=True)
class Texts:
    """Sequences that are read at once: rows of so many tokens each. vocab_size: tokens that both models score."""

    rows: int
    length: int
    vocab_size: int

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.rows * self.length


@dataclass(frozen=True)
class Training:
    """One training on one device.

    step: its texts; micro_rows: rows of them per forward pass. plain: texts of the pretraining loss. mixed: under
    autocast. recomputed: activations are not kept. ranks: that exchange gradients. buffered: bytes of replayed texts.
    """

    name: str
    student: Model
    teacher: Model | None
    step: Texts
    micro_rows: int
    mixed: bool
    recomputed: bool
    accelerator: bool
    ranks: int = 1
    plain: Texts | None = None
    buffered: int = 0

    def phases(self) -> list[Phase]:
        """The backward pass's beginning and its end, and a validation by loss."""
        trained = self.student.num_trained * 4
        several = self.micro_rows < self.step.rows or self.plain is not None
        passes = [self._pass(self.step)] + ([] if self.plain is None else [self._pass(self.plain)])
        largest = max(passes, key=lambda parts: sum(parts.values()))
        # A first micro-batch's gradients come to be while what was kept for them goes
        gradients = trained if several else 0
        validated = Texts(min(self.micro_rows, self.step.rows), self.step.length, self.step.vocab_size)
        logits = validated.tokens * validated.vocab_size * 4 * VALIDATION_COPIES
        stepping = trained if self.accelerator else 0  # AdamW over all weights at once holds one more of each
        # A tied weight's two gradients are there before they are one
        twice = self.student.shape.head * 4 if self.student.shape.tied and self.student.head_trains else 0
        return [
            self._phase(self.name, {"gradients": gradients, **largest}),
            self._phase(self.name, {"gradients": trained, "backward's end": max(stepping, twice)}),
            self._phase(f"{self.name}, in a validation", {"gradients": trained, "logits": logits}),
        ]

    def writing(self, *, rows: int, prompt: int, columns: int, both: bool) -> Phase:
        """While the student writes (both: the teacher too): prompts of so many tokens, texts of so many columns."""
        writers = [self.student] + ([self.teacher] if both and self.teacher is not None else [])
        found = {
            "gradients": self.student.num_trained * 4,
            **texts_written(writers, self, rows=rows, prompt=prompt, columns=columns),
        }
        return self._phase(f"{self.name}, while text is written", found)

    def _phase(self, name: str, others: Mapping[str, int]) -> Phase:
        trained = self.student.num_trained
        parts = {
            "student": self.student.weights,
            "teacher": 0 if self.teacher is None else self.teacher.weights,
            "AdamW": trained * 4 * ADAMW_STATES,
            "exchange": trained * 4 if self.ranks > 1 else 0,
            **others,
        }
        if not self.accelerator:
            parts["replay buffer"] = self.buffered
        return Phase(name, parts, on_host=self.buffered)

    def _pass(self, texts: Texts) -> dict[str, int]:
        """Forward passes of both models over a micro-batch, and the loss, just before the backward pass."""
        rows = min(self.micro_rows, texts.rows)
        tokens = rows * texts.length
        shape, numbers = self.student.shape, self.numbers(self.student)
        activations = kept(self.student, numbers, tokens=tokens, length=texts.length, recomputed=self.recomputed)
        cast = self.student.num_trained * 2 if self.mixed and not self.student.lora_rank else 0  # kept by autocast
        head = shape.head * 4 * (2 if shape.tied else 1) if self.student.head_trains else 0
        loss = loss_buffers(
            shape,
            tokens=tokens,
            vocab_size=texts.vocab_size,
            reads_teacher=self.teacher is not None,
            accelerator=self.accelerator,
        )
        going_back = tokens * alive_in_layer(shape, numbers)
        reading_teacher = states = 0
        if self.teacher is not None:
            of_teacher = self.numbers(self.teacher)
            states = 2 * tokens * self.teacher.shape.width * of_teacher.wide
            reading_teacher = tokens * alive_in_layer(self.teacher.shape, of_teacher)
        return {
            "activations": activations + cast,
            "head's gradient": head,
            "teacher's states": states,
            "loss and passes": max(reading_teacher, loss, going_back),
        }

    def numbers(self, model: Model) -> Arithmetic:
        """What a model computes with."""
        return arithmetic(4 if model.trains and not model.lora_rank else model.weight_bytes, mixed=self.mixed)


def texts_written(
    writers: Sequence[Model], training: Training, *, rows: int, prompt: int, columns: int
) -> dict[str, int]:
    """Parts of writing: what is remembered of the texts, and the widest place on the way to a token."""
    found = {"cache": 0, "prompts and draws": 0}
    for each in writers:
        numbers = training.numbers(each)
        found["cache"] += cache(each.shape, rows=rows, columns=columns, number_bytes=numbers.narrow)
        read = reading(each.shape, numbers, rows=rows, columns=prompt, vocab_size=each.shape.vocab_size)
        found["prompts and draws"] = max(found["prompts and draws"], read)
    return found


def evaluation(name: str, model: Model, *, rows: int, prompt: int, columns: int, copied: bool, mixed: bool) -> Phase:
    """A finished model that answers prompts. copied: it works on a copy of 16 bits; mixed: under autocast to them."""
    numbers = arithmetic(2 if copied else model.weight_bytes, mixed=mixed)
    parts = {
        "weights": model.weights,
        "copy": model.shape.num_parameters * 2 if copied else 0,
        "cache": cache(model.shape, rows=rows, columns=columns, number_bytes=numbers.narrow),
        "prompts and draws": reading(
            model.shape, numbers, rows=rows, columns=prompt, vocab_size=model.shape.vocab_size
        ),
    }
    return Phase(name, parts)


def factors(shape: Shape, *, rank: int, targets: Sequence[str] | None) -> int:
    """Parameters of low-rank factors; targets: names of modules, None = query and value, peft's usual choice."""
    width, inner = shape.width, shape.inner_width
    sides = {
        "q_proj": width + shape.query_width,
        "k_proj": width + shape.key_width,
        "v_proj": width + shape.key_width,
        "o_proj": shape.query_width + width,
        "c_attn": width + shape.query_width + 2 * shape.key_width,
        "query_key_value": width + shape.query_width + 2 * shape.key_width,
        "qkv_proj": width + shape.query_width + 2 * shape.key_width,
        "gate_up_proj": width + 2 * inner,
    }
    named = ("q_proj", "v_proj") if targets is None else targets
    return shape.num_layers * rank * sum(sides.get(each, width + inner) for each in named)
