"""Lightning's Trainer as every training here runs under it: it survives a kill, resumes, and says how far it is."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import lightning
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from amid.data.batch import Batch
from amid.errors import SPEAKS, RequestError, RunError
from amid.ranks import Ranks
from amid.stopping import Asked, ended, noted
from amid.training.checkpoints import BEST, KeepLast, SealedCheckpointIO, intact_checkpoint
from amid.training.devices import device_of, peak_memory_mb, reset_peak_memory, slow_training
from amid.training.plan import StepPlan, TrainingPlace
from amid.training.spent import Spent, over_ranks
from amid.training.step import DistillModule
from amid.training.tracking import Journal

log = logging.getLogger(__name__)
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # Lightning sets INFO when imported; its tips are not our output


@dataclass(frozen=True)
class FitResult:
    """The value that the best weights were selected by, seconds in this process, and what all attempts have spent."""

    best_value: float
    seconds: float
    spent: Spent


def run_trainer(
    module: DistillModule,
    validation: Sequence[Batch],
    *,
    steps: StepPlan,
    select: Literal["rouge_l", "loss"],
    precision: str,
    place: TrainingPlace,
    validate_first: bool = False,
) -> FitResult:
    """Trains to the end of the steps, from the last intact checkpoint if there is one, and selects the best weights.

    validation: this rank's batches. select: validation ROUGE-L (highest) or loss (lowest). validate_first: also
    validate the starting student. Asked to stop, the ranks save at one step: raises StoppedError, or KeyboardInterrupt
    after Ctrl-C.
    """
    resources, ranks, checkpoints = place.resources, place.ranks, place.checkpoints
    monitor, mode = ("val/rouge_l", "max") if select == "rouge_l" else ("val/loss", "min")
    best = ModelCheckpoint(
        dirpath=checkpoints,
        filename=BEST.removesuffix(".ckpt"),
        monitor=monitor,
        mode=mode,
        save_weights_only=True,
        save_on_train_epoch_end=False,  # right after validation, so that the epoch's checkpoint knows of it
        enable_version_counter=False,
    )
    slow = slow_training(precision, device_of(resources.accelerator))
    if slow is not None and ranks.leads:
        log.info("note: %s", slow)  # and stays what was asked for: precision is a part of the identity
    show_bar = resources.progress_bar and sys.stderr.isatty() and ranks.leads
    callbacks: list[Callback] = [
        best,
        KeepLast(checkpoints, every_steps=resources.checkpoint_every_steps, check=place.check),
    ]
    if ranks.leads:
        callbacks.append(_ProgressLines(place.label, steps))
    if show_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=max(1, steps.steps_per_round // 20), leave=False))
    with warnings.catch_warnings():
        # Lightning's advice on workers, on precision plugins and on folders of an earlier attempt does not apply here.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = lightning.Trainer(
            accelerator=resources.accelerator,
            devices=ranks.per_node,
            num_nodes=ranks.size // ranks.per_node,
            # Buffers are equal on all ranks; exchanging them on every forward would hang where ranks validate apart.
            strategy=DDPStrategy(broadcast_buffers=False) if ranks.size > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]  # checked by TrainCfg
            max_epochs=steps.rounds,
            logger=_journal_of(place),
            callbacks=callbacks,
            plugins=[SealedCheckpointIO(place.check), _environment(ranks)],
            enable_progress_bar=show_bar,
            enable_model_summary=False,
            num_sanity_val_steps=-1 if validate_first else 0,  # Lightning skips it when a run resumes
            use_distributed_sampler=False,  # batches are made for their rank
            log_every_n_steps=1,
        )
        start = time.perf_counter()
        reset_peak_memory(device_of(resources.accelerator))
        # Lightning counts: the module asks for the batch of its step, and validation batches are made already.
        counter: DataLoader[int] = DataLoader(range(steps.steps_per_round), batch_size=None)  # type: ignore[arg-type]  # list
        val_loader: DataLoader[Batch] = DataLoader(list(validation), batch_size=None)  # type: ignore[arg-type]  # list
        try:
            with noted():
                trainer.fit(module, counter, val_loader, ckpt_path=intact_checkpoint(checkpoints, check=place.check))
        except Asked:
            end = ended(f"{place.label}: step {trainer.global_step} of {steps.total_steps} is saved")
            setattr(end, SPEAKS, ranks.leads)
            raise end from None
        except SystemExit as end:
            # Lightning's answer to an interrupt; any other comes from a user's function.
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        except (RequestError, RunError):
            raise
        except Exception as err:
            elsewhere = ranks.failure_elsewhere(err)
            if elsewhere is None:
                raise
            raise elsewhere from err  # not that the connection to that rank broke
        if trainer.interrupted:
            raise KeyboardInterrupt
    if best.best_model_score is None:
        raise RunError("training ended without a validation")
    spent = module.spent
    spent.peak_memory_mb = max(spent.peak_memory_mb, peak_memory_mb(device_of(resources.accelerator)))
    return FitResult(
        best_value=float(best.best_model_score),
        seconds=time.perf_counter() - start,
        spent=over_ranks(Spent(**state) for state in ranks.gather(spent.state_dict())),
    )


def _journal_of(place: TrainingPlace) -> list[Logger]:
    if place.journal is None or not place.ranks.leads:
        return []
    return [Journal(place.journal, place.mirrors, check=place.check)]


def _environment(ranks: Ranks) -> ClusterEnvironment:
    """How the processes were started; told, because Lightning's guess takes a lone process of a job for many."""
    if ranks.size == 1:
        return LightningEnvironment()
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    return SLURMEnvironment(auto_requeue=False)


class _ProgressLines(Callback):
    """One line per validation, readable in a log file as on a terminal."""

    def __init__(self, label: str, plan: StepPlan) -> None:
        self._label = label
        self._plan = plan
        self._start = time.perf_counter()
        self._first_step = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock, and says where a resumed run continues."""
        self._start = time.perf_counter()
        self._first_step = trainer.global_step
        if self._first_step:
            log.info("%s  resumes after step %d of %d", self._label, self._first_step, self._plan.total_steps)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Prints loss, validation and the time left."""
        done = trainer.global_step
        seconds = time.perf_counter() - self._start
        left = seconds / max(1, done - self._first_step) * (self._plan.total_steps - done)
        metrics = trainer.callback_metrics
        rouge = f"  val ROUGE-L {float(metrics['val/rouge_l']):5.1f}" if "val/rouge_l" in metrics else ""
        log.info(
            "%s  step %d/%d%s  val loss %.4f%s%s  %.0f s left",
            self._label,
            done,
            self._plan.total_steps,
            f"  loss {float(metrics['loss']):.4f}" if "loss" in metrics else "",  # resumed before a validation
            float(metrics["val/loss"]),
            rouge,
            pl_module.strategy_summary() if isinstance(pl_module, DistillModule) else "",
            left,
        )
