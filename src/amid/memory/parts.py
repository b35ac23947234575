"""Bytes of the parts of a training: weights, what a gradient keeps, the head's buffers, a cache. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from amid.memory.shapes import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTISED_BYTES = {"int8": 1.02, "int4": 1.16, "nf4": 0.57}  # per weight, with the scales of its group
ADAMW_STATES = 2  # float32 moments of every weight that trains
CHUNK_TOKENS = 192  # amid.core.fused: tokens whose logits are alive at a time
BLOCK_BUFFERS = 8  # amid.core.block: [b, V] float32 buffers of a block
BLOCK_ELEMENTS = {"cpu": 2**18, "accelerator": 2**24}  # amid.core.fused: of one of them
SPARE_COLUMNS = 64  # amid.generation.slot_cache: allocated beyond those in use


@dataclass(frozen=True)
class Model:
    """A model as a training holds it: its shape, bytes per weight that stays, and what of it trains.

    lora_rank: 0 = every weight trains, if `trains`. added: parameters of the low-rank factors. quantised: how the
    layers' weights are held.
    """

    shape: Shape
    weight_bytes: int
    trains: bool
    lora_rank: int = 0
    added: int = 0
    quantised: str | None = None

    @property
    def num_trained(self) -> int:
        """Parameters with a gradient and an optimiser state."""
        if not self.trains:
            return 0
        return self.added if self.lora_rank else self.shape.num_parameters

    @property
    def weights(self) -> int:
        """Bytes of the weights, with low-rank factors."""
        shape, of_layers = self.shape, float(self.weight_bytes)
        if self.quantised is not None:
            of_layers = QUANTISED_BYTES[self.quantised]
        layers = int(shape.num_layers * shape.per_layer * of_layers)
        return shape.embedded * self.weight_bytes + layers + self.added * 4

    @property
    def head_trains(self) -> bool:
        """Whether the output head has a gradient."""
        return self.trains and not self.lora_rank


@dataclass(frozen=True)
class Arithmetic:
    """Bytes per number of what layers compute. wide: sums and norms. narrow: products, fewer under autocast."""

    wide: int
    narrow: int


def arithmetic(weight_bytes: int, *, mixed: bool) -> Arithmetic:
    """Of a model of weights of so many bytes; mixed: under autocast to 16 bits."""
    return Arithmetic(wide=weight_bytes, narrow=min(weight_bytes, 2) if mixed else weight_bytes)


def kept_of_layer(model: Model, numbers: Arithmetic, *, length: int) -> int:
    """Bytes per token that one layer of a model that trains keeps for its gradient; length: of the sequences."""
    shape, wide, narrow = model.shape, numbers.wide, numbers.narrow
    frozen = model.lora_rank > 0
    norm = wide + (narrow if not frozen else 0) + (0 if frozen or shape.layer_norm else wide)
    attention = shape.query_width * (2 if frozen else 3) + 2 * shape.key_width
    mlp = shape.inner_width * (shape.mlp_kept - (1 if frozen else 0))
    mlp += 2 * shape.num_read * shape.width  # what each expert reads and gives
    normed = 2 * (shape.query_width + shape.key_width) if shape.query_norm else 0
    weights_between = 2 * shape.num_heads * length if shape.eager else 0
    added = 2 * shape.width * wide + 2 * shape.width if frozen else 0  # what the factors read, dropped or not
    return shape.num_norms * shape.width * norm + normed * wide + (attention + mlp + weights_between) * narrow + added


def alive_in_layer(shape: Shape, numbers: Arithmetic) -> int:
    """Bytes per token that a pass through one layer needs at its widest place, keeping nothing."""
    mlp = shape.inner_width * (3 if shape.gated else 2)
    attention = 3 * shape.query_width + 2 * shape.key_width
    return 2 * shape.width * numbers.wide + max(mlp, attention) * numbers.narrow


def kept(model: Model, numbers: Arithmetic, *, tokens: int, length: int, recomputed: bool) -> int:
    """Bytes of all that a forward pass keeps for the gradient; recomputed: the layers' insides are not kept."""
    shape, of_layer = model.shape, kept_of_layer(model, numbers, length=length)
    inputs = shape.num_layers * shape.width * numbers.wide
    of_layers = inputs + of_layer if recomputed else shape.num_layers * of_layer
    return tokens * (of_layers + 3 * shape.width * numbers.wide)


def loss_buffers(student: Shape, *, tokens: int, vocab_size: int, reads_teacher: bool, accelerator: bool) -> int:
    """Bytes of the fused loss: logits of a chunk of each model, blocks of them, and the gradient of the states."""
    rows = min(CHUNK_TOKENS, tokens)
    chunks = rows * vocab_size * (1 + reads_teacher + student.softcap)
    elements = BLOCK_ELEMENTS["accelerator" if accelerator else "cpu"]
    blocks = min(rows, max(1, elements // vocab_size)) * vocab_size * BLOCK_BUFFERS
    return 4 * (chunks + blocks + tokens * student.width)


def cache(shape: Shape, *, rows: int, columns: int, number_bytes: int) -> int:
    """Bytes of keys and values while text is written; columns: of the longest text."""
    per_column = 2 * shape.num_layers * shape.key_width * number_bytes
    # One layer at a time moves into larger storage
    return rows * (columns + SPARE_COLUMNS) * (per_column + per_column // shape.num_layers)


def reading(shape: Shape, numbers: Arithmetic, *, rows: int, columns: int, vocab_size: int) -> int:
    """Bytes of reading prompts of so many columns, and of drawing a token from each one's logits."""
    drawing = rows * vocab_size * (4 + 4 + 8 + 8)  # logits, their exponentials, sums in float64; sorted for top-p
    return max(rows * columns * alive_in_layer(shape, numbers), drawing)
