"""The LightningModule: one optimiser step of teacher, student and objective, and its validation.

A step is one optimiser step: one batch per rank, one `next_batch`, one labelled-token count reduced over ranks, then
micro-batches. Dropout and sampling are functions of (seed, step, rank), so a resumed run repeats an undisturbed one.
Legend: B batch, T input positions, H hidden units, N labelled tokens.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from transformers import PreTrainedModel

from amid.core import Objective, signal_means
from amid.data.batch import SOURCES, Batch
from amid.errors import RunError
from amid.pairs import Pair
from amid.ranks import ALONE, Ranks
from amid.stopping import Asked, asked
from amid.strategies import Fixed, Policy, Strategy
from amid.training.devices import peak_memory_mb
from amid.training.diagnostics import diagnostic_metrics, position_sums_for, sampled
from amid.training.forward import Forward
from amid.training.optimisation import Optimisation, StepOptions, StepParts, equal_weights, row_weights
from amid.training.rollout import Rollout
from amid.training.routes import objectives_by_source
from amid.training.seeds import seed_of
from amid.training.spent import Spent
from amid.training.step_report import LABELS_PER_S, StepReport

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlainTextLoss:
    """The pretraining loss: `coefficient` times the objective on a second batch of every optimiser step.

    batch_of_step: optimiser step -> this rank's batch of plain text.
    """

    batch_of_step: Callable[[int], Batch]
    objective: Objective
    coefficient: float


class DistillModule(lightning.LightningModule):
    """Trains the student of a pair to minimise an objective on the batches of a strategy, under any Lightning Trainer.

    batch_of_step: optimiser step -> this rank's gold batch; Lightning then only counts the steps, and a resumed run
        asks for the batch of its own step. None: the Trainer's loader gives batches (`amid.data.batch.Batch`).
    strategy: which batch to train on; None = the gold one. rollout: what writes the responses it asks for.
    ranks: this process among those that train together, where there are several.
    validation_rouge_l: student -> ROUGE-L of its responses to the validation prompts; None = validate by loss only.
    plain_text: a pretraining loss that is added to the objective; None = no such loss.
    sources: of each term of the objective, whose responses it is taken over (gold, teacher, student; None = all), each
        with a mean of its own; empty = all terms over all.
    spent: what the training has used so far. stops: whether the ranks have agreed to stop where it can be gone on from,
        because one of them was asked to (`amid.stopping`).
    The teacher is no submodule: it is in no checkpoint and no optimiser, and stays in eval mode.
    Raises ValueError if the objective reads a teacher that the pair does not have.
    """

    def __init__(
        self,
        pair: Pair,
        objective: Objective,
        optimisation: Optimisation,
        *,
        batch_of_step: Callable[[int], Batch] | None = None,
        strategy: Strategy | None = None,
        rollout: Rollout | None = None,
        options: StepOptions | None = None,
        seed: int = 0,
        ranks: Ranks = ALONE,
        validation_rouge_l: Callable[[PreTrainedModel], float] | None = None,
        plain_text: PlainTextLoss | None = None,
        sources: Sequence[str | None] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer validation examples than ranks
        self.student = pair.student
        self._teacher: tuple[PreTrainedModel, ...] = () if pair.teacher is None else (pair.teacher,)
        for teacher in self._teacher:
            teacher.eval().requires_grad_(False)
        self._forward = Forward(pair)
        self._batch_of_step = batch_of_step
        self._objective = objective
        self._parts = objectives_by_source(objective, sources)
        self._strategy: Strategy = Fixed() if strategy is None else strategy
        self._rollout = rollout
        self._options = options or StepOptions()
        self._keep_teacher_states = self._options.keep_teacher_states and objective.needs_teacher
        self._ranks = ranks
        self._optimisation = optimisation
        self._seed = seed
        self._validation_rouge_l = validation_rouge_l
        self._plain_text = plain_text
        self._epoch_positions = self._epoch_nonfinite = 0
        self._val_sum = self._val_count = 0.0
        self.spent = Spent()
        self.stops = False
        self._report = StepReport(
            every_steps=self._options.log_every_steps,
            total_steps=optimisation.total_steps,
            strategy=self._strategy,
            rollout=rollout,
        )
        soft = plain_text is not None and plain_text.objective.needs_teacher
        if (objective.needs_teacher or soft) and not self._teacher:
            raise ValueError("the objective reads a teacher, but the pair has none")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW without decay on vectors (norms and biases). Deviates from the reference: that decays LLaMA's norms."""
        matrices = [weight for weight in self.student.parameters() if weight.requires_grad and weight.dim() >= 2]
        vectors = [weight for weight in self.student.parameters() if weight.requires_grad and weight.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": self._optimisation.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=self._optimisation.lr, betas=self._optimisation.betas, eps=self._optimisation.eps
        )

    def on_fit_start(self) -> None:
        """The student trains, the teacher joins it on its device."""
        self.student.train()
        if self._options.gradient_checkpointing:
            # Not reentrant: that form gives no gradient where a layer's input needs none, as with frozen embeddings
            checkpointing = {"use_reentrant": False}
            if hasattr(self.student, "activation_checkpointing_enable"):  # its name in newer releases
                self.student.activation_checkpointing_enable(checkpointing)
            else:
                self.student.gradient_checkpointing_enable(checkpointing)
        self._forward.begin(self.device)

    def training_step(self, batch: object, batch_idx: int) -> None:
        """Takes one whole optimiser step (manual optimisation); the gold batch is `batch` without a `batch_of_step`."""
        step = self.global_step
        torch.manual_seed(seed_of(self._seed, step, self.global_rank))
        progress = step / self._optimisation.total_steps
        gold = batch if self._batch_of_step is None else self._batch_of_step(step)
        if not isinstance(gold, Batch):
            raise TypeError(f"the Trainer's loader must give an amid.data.batch.Batch, got {type(gold).__name__}")
        generate = functools.partial(self._generate, step=step)
        chosen = self._strategy.next_batch(gold.to(self.device), progress=progress, generate=generate).to(self.device)
        source = SOURCES[int(chosen.source[0])]
        generated = source in ("fresh", "replayed")
        self._report.count_source(source if generated else "gold")
        self.spent.steps += 1
        self.spent.generated_steps += generated
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        if self._options.diagnostic_positions and self._report.is_due(step):
            key = (self._seed, step, self.global_rank)
            chosen = sampled(chosen, num_positions=self._options.diagnostic_positions, key=key)
        total = self._summed_over_ranks(self._accumulate_all(chosen))
        if total.num_nonfinite > 0 and total.surviving_weight > 0:
            surviving = total.surviving_weight / total.weight
            total.loss /= surviving
            for weight in self.student.parameters():
                if weight.grad is not None:
                    weight.grad.div_(surviving)
        if total.surviving_weight == 0:
            # No position has anything to say: AdamW's momentum must not move the student on its own, and a rank alone
            # would not even have gradients.
            optimizer.zero_grad()
        plain = self._add_plain_text(step)
        clip = self._optimisation.grad_clip or math.inf  # 0 is off
        grad_norm = nn.utils.clip_grad_norm_(self.student.parameters(), clip)
        if not torch.isfinite(grad_norm):
            raise RunError(f"diverged: the gradient of step {step} is not finite")
        lr = self._optimisation.lr_at(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        for parts in (total, plain):
            self._epoch_positions += parts.num_tokens
            self._epoch_nonfinite += parts.num_nonfinite
        self._objective.update({"progress": (step + 1) / self._optimisation.total_steps, **signal_means(total.signals)})
        self._say(step, total, plain, lr=lr, grad_norm=float(grad_norm))
        if (step + 1) % self.trainer.num_training_batches == 0:
            self._end_round()

    def _generate(self, batch: Batch, *, policy: Policy, step: int) -> Batch:
        """The batch with new responses and, where a buffer will want them, the teacher's states."""
        assert self._rollout is not None, "this strategy was not expected to generate"
        fresh = self._rollout(batch, policy=policy, step=step)
        self.spent.generated_tokens += self._rollout.last.num_tokens
        self.spent.generation_seconds += self._rollout.last.seconds
        if not self._keep_teacher_states:
            return fresh
        states = self._forward.teacher_states(fresh, self.spent, micro_batch_size=self._options.micro_batch_size)
        return replace(fresh, teacher_states=states)

    def _end_round(self) -> None:
        """Fails the run as diverged when too many positions of the round had no finite value.

        Before the round's checkpoint, which a resumed run would otherwise take up behind this decision.
        """
        share = self._epoch_nonfinite / max(1, self._epoch_positions)
        if share > self._optimisation.max_nonfinite_share:
            raise RunError(
                f"diverged: {share:.1%} of the positions of epoch {self.current_epoch} had no finite divergence "
                f"(train.max_nonfinite_share={self._optimisation.max_nonfinite_share:g})"
            )
        self._epoch_positions = self._epoch_nonfinite = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds the batch's cross-entropy to the exact token mean."""
        labels = batch.labels[batch.labelled]
        if not labels.numel():
            return  # the mean over no position is no number
        logits = self._forward.student_logits(batch)
        by_batch = self._options.validation_batch_mean
        self._val_sum += float(
            nn.functional.cross_entropy(logits.float(), labels, reduction="mean" if by_batch else "sum")
        )
        self._val_count += 1 if by_batch else labels.numel()

    def on_validation_epoch_end(self) -> None:
        """Logs validation loss and ROUGE-L, and tells the strategy.

        Raises Asked, before anything is changed, where a rank was asked to stop: the validation is done again.
        """
        total, count, stops = self._reduced(self._val_sum, self._val_count, asked())
        self._val_sum = self._val_count = 0.0
        metrics = {"val/loss": total / max(1.0, count)}
        if self.trainer.sanity_checking:
            self._strategy.on_validation(metrics["val/loss"])
            return  # the starting student, of which only the strategy wants to know
        if stops:
            raise Asked
        if self._validation_rouge_l is not None:
            metrics["val/rouge_l"] = self._validation_rouge_l(self.student)
        self._strategy.on_validation(metrics["val/loss"])
        self.log_dict(metrics, logger=False, prog_bar=True)
        self._log(metrics, step=self.global_step)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # has overloads there
        """What trains, and buffers: weights that stay are where they came from."""
        stay = {f"student.{name}" for name, weight in _weights(self.student) if not weight.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name not in stay}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Restores what `state_dict` gave. Raises RuntimeError for weights of another student."""
        differing = set(state_dict) ^ set(self.state_dict())
        if strict and differing:
            raise RuntimeError(f"the state is of another student: {', '.join(sorted(differing)[:3])}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the states of strategies, schedules and report, the round's counts of positions, and what was spent.

        What every rank has of its own is a list of them; on this occasion all learn whether one was asked to stop.
        """
        self.spent.peak_memory_mb = max(self.spent.peak_memory_mb, peak_memory_mb(self.device))
        own = {
            "strategy": self._strategy.state_dict(),
            "spent": self.spent.state_dict(),
            "report": self._report.state_dict(),
        }
        of_ranks = self._ranks.gather((own, asked()))
        self.stops |= any(one_asked for _, one_asked in of_ranks)
        checkpoint |= {name: [each[name] for each, _ in of_ranks] for name in own}
        checkpoint["objective"] = self._objective.state_dict()
        checkpoint["positions"] = {"round": self._epoch_positions, "nonfinite": self._epoch_nonfinite}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the states of strategy, schedules and report, the round's counts, and what was spent."""
        self._strategy.load_state_dict(checkpoint["strategy"][self._ranks.rank])
        self._objective.load_state_dict(checkpoint["objective"])
        self.spent = Spent.of_state(checkpoint["spent"][self._ranks.rank] if "spent" in checkpoint else None)
        if "report" in checkpoint:  # earlier versions kept none
            self._report.load_state_dict(checkpoint["report"][self._ranks.rank])
        positions = checkpoint.get("positions", {"round": 0, "nonfinite": 0})  # 0.1.0 kept none
        self._epoch_positions, self._epoch_nonfinite = positions["round"], positions["nonfinite"]

    def _add_plain_text(self, step: int) -> StepParts:
        """Parts of the step's pretraining loss, all 0 without one; its gradient is added to that of the objective.

        Positions without a finite value are counted and contribute 0; the mean stays one over all of them.
        """
        if self._plain_text is None:
            return StepParts(signals={})
        batch = self._plain_text.batch_of_step(step).to(self.device)
        return self._summed_over_ranks(
            self._accumulate(batch, self._plain_text.objective, coefficient=self._plain_text.coefficient)
        )

    def _accumulate_all(self, batch: Batch) -> StepParts:
        """Loss parts of this rank's batch, each term over the responses that it is taken over."""
        total = StepParts(signals={})
        for source, objective in self._parts.items():
            if source is None:
                rows = batch
            else:
                rows = batch.written_by(source)
                if self._reduced(float(rows.labelled.sum()))[0] == 0:
                    continue  # nobody's rows of this step
            parts = self._accumulate(rows, objective)
            total = parts if len(self._parts) == 1 else total.beside(parts)
        return total

    def _accumulate(self, batch: Batch, objective: Objective, *, coefficient: float = 1.0) -> StepParts:
        """Loss parts of this rank's batch, its gradient accumulated over micro-batches; coefficient: of the loss."""
        # A mean per micro-batch depends on which rows it holds: they stay as they were drawn
        divide = batch.split if self._options.reduction == "micro_batch_mean" else batch.micro_batches
        micro_batches = list(divide(self._options.micro_batch_size))
        weights = [coefficient * each for each in self._token_weights(batch, micro_batches)]
        total = StepParts(signals={name: [0.0, 0.0] for name in objective.measured_signals})
        positions = position_sums_for(batch, objective, self._objective)
        if positions is not None:
            total.positions = positions.sums
        for index, micro in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            # Without a label there is nothing to compute, but a rank alone must not skip the exchange of gradients.
            if micro.labelled.any() or self.trainer.world_size > 1:
                parts = self._forward.loss_parts(micro, objective, weights[index], self.spent, positions)
                with contextlib.nullcontext() if last else self._unsynchronised():
                    # Data-parallel training averages over ranks; the weights are of the sum over ranks.
                    self.manual_backward(parts.loss * self.trainer.world_size)
                total.add(parts, weights[index])
        return total

    def _summed_over_ranks(self, parts: StepParts) -> StepParts:
        """The parts of the whole step, on every rank; with them the ranks agree whether they stop after it."""
        pairs = [*parts.signals.values(), *parts.positions.values()]
        counts = (parts.num_tokens, parts.num_nonfinite, parts.num_dense)
        loss, weight, surviving, tokens, nonfinite, dense, stops, *sums = self._reduced(
            parts.loss, parts.weight, parts.surviving_weight, *counts, asked(), *(v for pair in pairs for v in pair)
        )
        self.stops |= stops > 0
        summed = [sums[2 * index : 2 * index + 2] for index in range(len(pairs))]
        return StepParts(
            loss=loss,
            weight=weight,
            surviving_weight=surviving,
            num_tokens=int(tokens),
            num_nonfinite=int(nonfinite),
            num_dense=int(dense),
            signals=dict(zip(parts.signals, summed, strict=False)),
            positions=dict(zip(parts.positions, summed[len(parts.signals) :], strict=True)),
        )

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """A context in which ranks do not exchange gradients yet."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else contextlib.nullcontext()

    def _token_weights(self, batch: Batch, micro_batches: list[Batch]) -> list[Tensor]:
        """Weight of every labelled token, [N] per micro-batch; all weights of all ranks add up to 1."""
        world = self.trainer.world_size
        if self._options.reduction == "sequence_mean":
            num_rows = self._reduced(float(batch.labelled.any(dim=1).sum()))[0]
            return row_weights(micro_batches, num_rows=num_rows)
        if self._options.reduction == "micro_batch_mean":
            counts = [float(micro.labelled.sum()) * len(micro_batches) * world for micro in micro_batches]
        else:
            counts = [self._reduced(float(batch.labelled.sum()))[0]] * len(micro_batches)
        return equal_weights(micro_batches, counts)

    def _reduced(self, *values: float | Tensor) -> list[float]:
        """The values summed over ranks."""
        row = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(row)
        return row.tolist()

    def _say(self, step: int, total: StepParts, plain: StepParts, *, lr: float, grad_norm: float) -> None:
        """Tells the progress bar and, at every log_every_steps, the journal."""
        self.log("loss", total.loss, prog_bar=True, logger=False)
        values = {"train/loss": total.loss, "train/lr": lr, "train/grad_norm": grad_norm}
        values |= {f"schedule/{name}": value for name, value in self._objective.current_values().items()}
        if self._plain_text is not None:
            values["train/lm_loss"] = plain.loss / self._plain_text.coefficient
        metrics = self._report.metrics(step, total, values=values, num_nonfinite=self._epoch_nonfinite)
        if metrics is not None:
            self.log("labels/s", metrics[LABELS_PER_S], prog_bar=True, logger=False)
            self._log(metrics, step=step + 1)
        measures = diagnostic_metrics(total.positions)
        if measures:
            # A line of its own: a resumed run that samples other positions repeats the one above all the same
            self._log(measures, step=step + 1)

    def strategy_summary(self) -> str:
        """What the strategy did since the last call, on one line; empty where it only hands out gold batches."""
        return self._report.summary()

    def _log(self, metrics: dict[str, float], *, step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics(metrics, step=step)


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every name of every weight: a tied one has two."""
    return model.named_parameters(remove_duplicate=False)
