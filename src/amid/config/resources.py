"""Where and how to run: never results."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from amid.config.checks import at_least, one_of
from amid.config.names import expanded

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
LOGGERS = ("wandb", "csv", "none")
WANDB_MODES = ("online", "offline", "disabled")


@dataclass
class TrainerCfg:
    """Where and how to run: resources and display, never results."""

    accelerator: str = "auto"  # as Lightning's Trainer
    devices: int = 1  # processes that train one cell together, one per device (docs/strategies.md, Several devices)
    keep_teacher_states: bool = True  # in the replay buffer, so that a replayed batch needs no teacher pass
    gradient_checkpointing: bool = False  # less memory: a layer's activations are computed again for its gradient
    micro_batch_size: int | None = None  # sequences per forward and device, null = all of a step at once
    generation_batch_size: int = 256  # prompts decoded together
    checkpoint_every_steps: int | None = None  # besides the one after each epoch
    log_every_steps: int = 10
    diagnostic_positions: int = 64  # measured per device at every journal line (docs/diagnostics.md), 0 = none
    progress_bar: bool = True  # only on a terminal

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ACCELERATORS)
        for name in ("devices", "micro_batch_size", "generation_batch_size", "checkpoint_every_steps"):
            at_least(f"trainer.{name}", getattr(self, name), 1)
        at_least("trainer.log_every_steps", self.log_every_steps, 1)
        at_least("trainer.diagnostic_positions", self.diagnostic_positions, 0)


@dataclass
class LoggerCfg:
    """Where metrics are mirrored besides the local journal."""

    name: str = MISSING
    # W&B; null is what its own environment says (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, its settings files)
    project: str | None = None  # and if that says nothing: amid-lab
    entity: str | None = None  # team or user
    mode: str | None = None  # online, offline or disabled; online needs a login, without one it is offline
    tags: list[str] = field(default_factory=list)
    num_generations: int = 8  # rows of the table of generations

    def __post_init__(self) -> None:
        one_of("logger", self.name, LOGGERS)
        if self.mode is not None:
            one_of("logger.mode", self.mode, WANDB_MODES)
        at_least("logger.num_generations", self.num_generations, 0)


@dataclass
class PathsCfg:
    """Folders."""

    results: str = MISSING  # one folder per cell, stage and sweep
    cache: str = MISSING  # conversions and digests that can be made again

    def __post_init__(self) -> None:
        self.results, self.cache = expanded("paths.results", self.results), expanded("paths.cache", self.cache)
