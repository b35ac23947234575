"""Checkpoints of a training: whole on disk or not there, sealed, two generations of them, and the best weights.

The best weights are chosen by validation and lie in a file of their own. A checkpoint that knows of them is of use only
together with that file; each says whether the weights it holds are those, so that a damaged file can be made again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amid.digests.seals import DamagedError, check_zip, seal_zip
from amid.errors import one_line
from amid.stopping import Asked, heed_again
from amid.store.files import drop_temporaries, replacing, temporary_path

log = logging.getLogger(__name__)
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.ckpt"
BEST_STEP = "best_step"  # in a checkpoint: the step at which the best weights so far were saved
Check = Callable[[], None]


class SealedCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints as sealed files: a kill leaves the old one or the new.

    check: called before a file is put in its place; raises if another process owns the folder.
    """

    def __init__(self, check: Check) -> None:
        super().__init__()
        self._check = check
        self._best_step: int | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """`path` holds the whole checkpoint afterwards, on disk. Raises NoSpaceError."""
        if Path(path).name == BEST:
            self._best_step = int(checkpoint["global_step"])
        checkpoint[BEST_STEP] = self._best_step
        _write(checkpoint, Path(path), check=self._check)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The checkpoint, as it was saved, wherever its folder lies now."""
        checkpoint: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        self._best_step = checkpoint.get(BEST_STEP)
        folder = os.path.realpath(Path(path).parent)
        for state in checkpoint.get("callbacks", {}).values():
            if "dirpath" in state:  # Lightning forgets the best value so far of a folder that was moved
                state["dirpath"] = folder
                state["best_model_path"] = state["best_model_path"] and os.path.join(folder, BEST)
        return checkpoint


class Stops(Protocol):
    """A module whose ranks agree when to stop, as `amid.training.step.DistillModule`."""

    stops: bool


class KeepLast(Callback):
    """Saves the whole training state after every round, and after every so many steps; keeps two generations.

    Also where the module's ranks have agreed to stop: after a step, or before the validation that follows on it, which
    is then done when the training goes on. Raises Asked there.
    """

    def __init__(self, folder: Path, *, every_steps: int | None, check: Check) -> None:
        self._folder = folder
        self._every_steps = every_steps
        self._check = check
        self._validates = False
        self._is_saved = False  # what there is now

    def on_sanity_check_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Lightning's handler of SIGTERM, put in place just now, runs a collective wherever its process is."""
        heed_again()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """As before a sanity check, which a resumed run skips."""
        heed_again()

    def on_train_batch_start(self, *args: Any) -> None:
        """What is saved is the state of before."""
        self._is_saved = False

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *args: Any) -> None:
        """Writes a checkpoint inside the round, where one is due or the last one for now."""
        if trainer.global_step % int(trainer.num_training_batches) == 0:
            return  # the validation comes first, or is saved as what comes next
        if self._every_steps and trainer.global_step % self._every_steps == 0:
            self._save(trainer)
        _end_if_agreed(pl_module)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Until its end nothing of the validation is in a checkpoint."""
        self._validates = not trainer.sanity_checking
        if self._validates:
            _end_if_agreed(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The validation is a part of what is saved from here on."""
        self._validates = self._is_saved = False

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes a checkpoint after the round's validation."""
        self._save(trainer)
        _end_if_agreed(pl_module)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Saves where the training was asked to stop, unless that was done just now."""
        if isinstance(exception, Asked) and not self._is_saved:
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A validation that has begun is due: Lightning begins it anew where its first batch was not done."""
        if self._validates:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["current"] = dict.fromkeys(progress["current"], 0)
            progress["is_last_batch"] = False

    def _save(self, trainer: lightning.Trainer) -> None:
        last = self._folder / LAST
        if trainer.is_global_zero and last.exists():
            # A hard link, so that there is a last checkpoint at every moment.
            previous = self._folder / PREVIOUS
            temporary = temporary_path(previous)
            os.link(last, temporary)
            self._check()
            temporary.replace(previous)
            temporary.unlink(missing_ok=True)  # still there if `previous` was a link to the same file already
        trainer.save_checkpoint(last)
        self._is_saved = True


def _end_if_agreed(module: lightning.LightningModule) -> None:
    if cast(Stops, module).stops:
        raise Asked


def intact_checkpoint(folder: Path, *, check: Check) -> Path | None:
    """The last checkpoint that can be gone on with, or the one before it; None if training must begin anew.

    A damaged file is reported and removed, so that it never takes the place of a sound one; damaged best weights are
    made again from a checkpoint that holds them.
    """
    drop_temporaries(folder, check=check)  # each as large as a checkpoint
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            continue
        if not _is_sound(path, remedy="the one before is used"):
            check()
            path.unlink(missing_ok=True)  # another rank may have been faster
        elif _has_best(path, check=check):
            return path
    return None


def best_weights(folder: Path) -> dict[str, Tensor]:
    """The state dict of the best weights. Raises DamagedError."""
    path = folder / BEST
    check_zip(path, remedy="repeat the command: training goes on from what is sound")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return weights


def _is_sound(path: Path, *, remedy: str) -> bool:
    try:
        if not check_zip(path, remedy=remedy):
            torch.load(path, map_location="cpu", weights_only=True)  # from before seals: it must at least be whole
    except DamagedError as err:
        log.warning("%s", err)
        return False
    except Exception as err:
        # Whatever a torn file makes the reader raise, the answer is the checkpoint before it.
        log.warning("%s is damaged (%s); %s", path, one_line(str(err))[:120], remedy)
        return False
    return True


def _has_best(path: Path, *, check: Check) -> bool:
    """Whether the best weights that a sound checkpoint knows of are there, or none are known yet."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    callbacks = checkpoint.get("callbacks", {}).values()
    best = path.with_name(BEST)
    if not any(state.get("best_model_path") for state in callbacks if isinstance(state, dict)):
        return True
    if best.is_file() and _is_sound(best, remedy="the weights selected so far are sought elsewhere"):
        return True
    if checkpoint.get(BEST_STEP) == checkpoint["global_step"]:
        log.warning("%s is made again from %s, which holds the same weights", best, path.name)
        _write({name: checkpoint[name] for name in ("state_dict", "global_step")}, best, check=check)
        return True
    log.warning("%s knows of best weights that are lost; it cannot be used", path)
    return False


def _write(checkpoint: dict[str, Any], path: Path, *, check: Check) -> None:
    with replacing(path, _num_bytes(checkpoint), check=check) as temporary:
        torch.save(checkpoint, temporary)
        seal_zip(temporary)


def _num_bytes(value: Any) -> int:
    """Bytes of the tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    return sum(map(_num_bytes, value)) if isinstance(value, (list, tuple)) else 0
