"""Which batch to train on."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from amid.config.checks import at_least, one_of, within
from amid.errors import RequestError, unknown_name

# What an advantage is, read by a term of kind policy_gradient.
OF_ADVANTAGES = ("discount", "reward_scale", "reward_clip", "immediate_reward", "length_normalised", "whitened")
# The options each strategy reads; those of one that a strategy does not read have no effect on it.
STRATEGY_OPTIONS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "on_policy": ("use_buffer", "capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    "mixed": (
        "student_probability",
        *("use_buffer", "capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    ),
    "adaptive_off_policy": (
        *("init_threshold", "loss_eps", "replay_ratio", "reference"),
        *("capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    ),
    "speculative": (
        *("num_proposed", "accept_top_k", "temperature", "top_p", "top_k"),
        *("teacher_temperature", "teacher_top_p"),
    ),
    "policy_gradient": ("num_rollouts", "passes", "teacher_share", *OF_ADVANTAGES),
}
REPLAY_RATIOS = ("decreasing", "constant", "increasing")
REFERENCES = ("last_raise", "previous")
BUFFER_SCOPES = ("rank", "global")


@dataclass
class StrategyCfg:
    """Which batch to train on (the paper's SGO strategies). Each strategy's file sets the options that it reads."""

    name: str = MISSING
    student_probability: float | None = None  # of a step that trains on student-written text
    use_buffer: bool | None = None  # train on a draw from the buffer; false: on what was just written
    init_threshold: float | None = None  # share of steps that do not train on gold text, at the start
    loss_eps: float | None = None  # rise of the validation loss, nats per token, that raises the threshold
    replay_ratio: str | None = None  # of replayed to fresh text over training: decreasing, constant or increasing
    reference: str | None = None  # the loss to compare with: last_raise or previous
    capacity: int | None = None  # sequences in the buffer
    buffer_scope: str | None = None  # rank: one buffer per process; global: one for all, held by each
    num_proposed: int | None = None  # tokens the student proposes at a time
    accept_top_k: int | None = None  # a proposed token stays if it is among the teacher's likeliest so many
    temperature: float | None = None  # of the student's tokens
    top_p: float | None = None
    top_k: int | None = None  # 0 = off
    teacher_temperature: float | None = None  # of the tokens that replace rejected ones
    teacher_top_p: float | None = None
    num_rollouts: int | None = None  # texts written at a time, of all ranks: full batches, at least one
    passes: int | None = None  # over the texts before new ones are written
    teacher_share: float | None = None  # of the teacher in the mixture that tokens are drawn from
    discount: float | None = None  # gamma of the return
    reward_scale: float | None = None  # a token's reward log p - log q is divided by it
    reward_clip: float | None = None  # largest size of a reward
    immediate_reward: bool | None = None  # a token's return begins with its own reward; false: with the next one's
    length_normalised: bool | None = None  # divide a return by the number of tokens that are left
    whitened: bool | None = None  # returns of all rollouts to mean 0 and variance 1

    def __post_init__(self) -> None:
        if self.name not in STRATEGY_OPTIONS:
            raise unknown_name("strategy", self.name, STRATEGY_OPTIONS)
        for name in STRATEGY_OPTIONS[self.name]:
            if getattr(self, name) is None:
                raise RequestError(f"strategy.{name} is needed for strategy={self.name}")
        for name in ("student_probability", "init_threshold", "teacher_share", "discount"):
            if getattr(self, name) is not None:
                within(f"strategy.{name}", getattr(self, name), 0.0, 1.0)
        for name, low in (
            ("loss_eps", 0),
            ("capacity", 1),
            ("num_proposed", 1),
            ("accept_top_k", 1),
            ("temperature", 0),
            ("teacher_temperature", 0),
            ("top_k", 0),
            ("num_rollouts", 1),
            ("passes", 1),
        ):
            at_least(f"strategy.{name}", getattr(self, name), low)
        for name in ("top_p", "teacher_top_p"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= 1.0:
                raise RequestError(f"strategy.{name} must lie in (0, 1], got {value:g}")
        for name in ("reward_scale", "reward_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise RequestError(f"strategy.{name} must be above 0, got {value:g}")
        for name, valid in (
            ("replay_ratio", REPLAY_RATIOS),
            ("reference", REFERENCES),
            ("buffer_scope", BUFFER_SCOPES),
        ):
            if getattr(self, name) is not None:
                one_of(f"strategy.{name}", getattr(self, name), valid)

    @property
    def remembers(self) -> bool:
        """Whether it trains on the same text several times."""
        return self.name == "policy_gradient" or (self.capacity is not None and self.use_buffer is not False)

    def num_collected_batches(self, batch_size: int) -> int:
        """How many batches of prompts of all ranks are collected at a time: at least one."""
        assert self.num_rollouts is not None
        return max(1, self.num_rollouts // batch_size)

    @property
    def reads_teacher(self) -> bool:
        """Whether the teacher has a part in the text."""
        return self.name in ("speculative", "policy_gradient")
