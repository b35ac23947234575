"""The composition root: the only place where a configuration becomes models, objectives and trainers."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from amid.cell import Cell, Stage, cell_of
from amid.claims import Claim, held
from amid.config import RunCfg
from amid.data.loader import validation_batches
from amid.data.tokenise import eos_id
from amid.evaluation import evaluate_entry, read_responses, validation_loss, validation_scores
from amid.failures import not_trained, recorded
from amid.fitting import fit_student, reads_teacher, validator
from amid.mirrors import CsvMirror, Guarded, Mirror, WandbMirror, lineage_of, wandb_mode
from amid.objectives import objective_of
from amid.pairs import Pair, load_model, save_model, shared_vocab_size
from amid.preflight import check_run
from amid.protocol import VALIDATION, VALIDATION_SIGNATURES, Protocol, protocol_of
from amid.ranks import ALONE, Ranks, joined
from amid.stages import Stages
from amid.store import Entry, Score, Store, generations_path
from amid.sweep import is_evaluated, label, resolved_config
from amid.tracking import last_step
from amid.training import FitResult

log = logging.getLogger(__name__)
CELL = "cell"  # announced to the other ranks; stages are announced by their kind
VALIDATION_BATCH_SIZE = 4  # examples whose logits are held at once when a finished model is validated


def run_task(run: RunCfg) -> None:
    """None; carries out the task of one checked configuration.

    Raises RequestError for what cannot be carried out, RunError for what failed (traceback in the cell's folder).
    """
    transformers_logging.set_verbosity_error()  # its advice to developers is not our user's
    with joined(run.trainer.devices) as ranks:
        experiment = Experiment(run, ranks)
        if not ranks.leads:
            check_run(run)  # as rank 0 does, so that nobody waits for a rank that has refused
            experiment.follow()
            return
        if run.task == "prepare":
            experiment.prepare()
        elif run.task == "evaluate":
            experiment.evaluate_again()
        else:
            experiment.distill()
        ranks.broadcast(None)  # after an error nobody waits for it: whoever started the processes ends them


class Experiment:
    """One cell with its stages."""

    def __init__(self, run: RunCfg, ranks: Ranks = ALONE) -> None:
        self.run = run
        self.cell: Cell = cell_of(run)
        self.store = Store(run.paths.results)
        self.stages = Stages(run, self.cell, self.store, ranks)
        self.protocol: Protocol = protocol_of(run, self.cell.values["data"])
        self._ranks = ranks
        self._cache = Path(run.paths.cache)

    # Tasks

    def prepare(self) -> None:
        """None; checks the request, builds the stages, and evaluates teacher and initial student."""
        check_run(self.run)
        self._prepare()

    def distill(self) -> None:
        """None; trains the cell unless it is trained, and evaluates it unless it is evaluated."""
        if self.store.state(self.cell) == "done" and is_evaluated(self.store, self.cell, self.protocol):
            log.info("cell %s is finished: nothing to run", self.cell.id)
            return
        in_sweep = self.run.sweep.name is not None
        if not in_sweep:
            check_run(self.run)  # a bad request leaves nothing in the store
        for text in self.cell.ignored:
            log.info("note: %s", text)
        claim = self.store.claim(self.cell)
        if claim is None:
            if self.store.state(self.cell) != "done":
                log.info("cell %s is being run by another process", self.cell.id)
                return
            self._evaluate_trained(prepare=True)
            return
        with held(claim), recorded(self.store, self.cell):
            if in_sweep:
                check_run(self.run)  # passed when the sweep was planned: what it says now is news of this machine
            self._prepare()
            self._train(claim)

    def evaluate_again(self) -> None:
        """None; evaluates a trained cell under the present protocol. Raises RequestError if it is not trained."""
        if self.store.state(self.cell) != "done":
            raise not_trained(self.cell)
        self._evaluate_trained(prepare=False)

    def _evaluate_trained(self, *, prepare: bool) -> None:
        if is_evaluated(self.store, self.cell, self.protocol):
            log.info("cell %s is evaluated: nothing to run", self.cell.id)
            return
        claim = self.store.claim_done(self.cell)
        if claim is None:
            log.info("cell %s is being evaluated by another process", self.cell.id)
            return
        with held(claim), recorded(self.store, self.cell):
            if prepare:
                self._prepare()
            student = load_model(str(self.store.model_folder(self.cell)), revision=None, cache=self._cache)
            self._evaluate(self.cell, student)
            self.store.set_evaluated(self.cell)

    def _prepare(self) -> None:
        stages, cell = self.stages, self.cell
        for stage, load in ((cell.teacher, stages.teacher), (cell.student_init, stages.initial_student)):
            stages.ensure(stage)
            if not is_evaluated(self.store, stage, self.protocol):
                self._evaluate_stage(stage, load)

    # Training

    def follow(self) -> None:
        """None; takes part in every training that rank 0 announces, until it says that it has finished."""
        while (announced := self._ranks.broadcast(None)) is not None:
            if announced == CELL:
                self._fit(self._pair(), mirrors=())
            else:
                self.stages.take_part(announced)

    def _train(self, claim: Claim) -> None:
        cell, start = self.cell, time.perf_counter()
        pair = self._pair()
        mirror = self._mirror()
        mirrors = () if mirror is None else (mirror,)
        failed = True
        try:
            self._ranks.broadcast(CELL)
            result = self._fit(pair, mirrors=mirrors)
            claim.check()
            model_folder = self.store.model_folder(cell)
            partial = model_folder.with_name("model.partial")
            for leftover in (partial, model_folder):
                shutil.rmtree(leftover, ignore_errors=True)
            save_model(pair.student, pair.tokenizer, partial)
            partial.rename(model_folder)
            scores = self._evaluate(cell, pair.student)
            seconds = time.perf_counter() - start
            self.store.set_status(
                cell, "done", seconds=round(seconds, 1), train_seconds=round(result.seconds, 1), best=result.best_value
            )
            shutil.rmtree(self.store.checkpoints_folder(cell), ignore_errors=True)  # the weights are in model/
            self._report(scores, seconds, mirror)
            failed = False
        finally:
            for open_mirror in mirrors:
                open_mirror.close(failed=failed)

    def _pair(self) -> Pair:
        student, tokenizer = self.stages.initial_student(), self.stages.tokenizer
        teacher = self.stages.teacher() if reads_teacher(self.run) else None
        vocab_size = (
            int(student.config.vocab_size) if teacher is None else shared_vocab_size(teacher, student, tokenizer)
        )
        return Pair(teacher=teacher, student=student, tokenizer=tokenizer, vocab_size=vocab_size)

    def _fit(self, pair: Pair, *, mirrors: Sequence[Mirror]) -> FitResult:
        """Train the pair's student, which holds the best weights afterwards; every rank calls it."""
        run, cell = self.run, self.cell
        examples, dev = self.stages.examples
        return fit_student(
            pair,
            examples,
            dev,
            run=run,
            objective=objective_of(run),
            train=run.train,
            seed=run.seed,
            as_stage=False,
            ranks=self._ranks,
            checkpoints=self.store.checkpoints_folder(cell),
            journal=self.store.journal_path(cell),
            mirrors=mirrors,
            label=self._label(),
        )

    # Evaluation

    def _evaluate_stage(self, stage: Stage, load: Callable[[], PreTrainedModel]) -> None:
        claim = self.store.claim_done(stage)
        while claim is None:
            if is_evaluated(self.store, stage, self.protocol):
                return
            time.sleep(1.0)
            claim = self.store.claim_done(stage)
        with held(claim), recorded(self.store, stage):
            scores = self._evaluate(stage, load())
            self.store.set_evaluated(stage)
        log.info("%s %s: %s", stage.kind.replace("_", " "), stage.id, _summary(scores, self.protocol))

    def _evaluate(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
        model = model.to(device)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
        validation_id = self.protocol.validation_id(entry.id)
        expected = self.protocol.expected(entry.id)
        known = [score for score in self.store.read([entry]) if score.score_id in expected]
        if len([score for score in known if score.generation_id == validation_id]) < 1 + len(VALIDATION_SIGNATURES):
            self.store.write(entry, self._validation_scores(entry, model))
        evaluate_entry(
            model,
            self.stages.tokenizer,
            self.protocol,
            entry=entry,
            store=self.store,
            batch_size=self.run.trainer.generation_batch_size,
        )
        return [score for score in self.store.read([entry]) if score.score_id in expected]

    def _validation_scores(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        validation = self.run.train.validation
        tokenizer, dev = self.stages.tokenizer, self.stages.examples[1][: validation.num_examples]
        batches = validation_batches(dev, batch_size=VALIDATION_BATCH_SIZE, pad_id=eos_id(tokenizer))
        return validation_scores(
            self.protocol,
            entry_id=entry.id,
            rouge=validator(self.run, tokenizer, dev)(model),
            loss=validation_loss(model, batches),
            num_samples=len(dev),
        )

    # What a person sees

    def _label(self) -> str:
        amid, divergence, strategy = self.run.amid, self.run.divergence, self.run.strategy
        assistant = f"alpha={label(amid.alpha)} lam={label(amid.lam)}"
        return f"{self.cell.id} {assistant} {divergence.name}/{divergence.order} {strategy.name}"

    def _mirror(self) -> Mirror | None:
        logger, store, cell = self.run.logger, self.store, self.cell
        if logger.name == "none":
            return None
        if logger.name == "csv":
            return Guarded("logger=csv", lambda: CsvMirror(store.folder(cell)))

        def wandb_run() -> Mirror | None:
            mode = wandb_mode(logger.mode)
            if mode == "disabled":
                return None
            return WandbMirror(
                logger,
                run_id=f"{cell.id}-{lineage_of(store.lineage_path(cell), store.journal_path(cell))}",
                name=self._label(),
                group=self.run.sweep.name,
                job_type=self.run.task,
                tags=[self.run.pair.name, self.run.data.source, self.run.divergence.name, self.run.strategy.name],
                config={
                    **resolved_config(self.run),
                    "cell_id": cell.id,
                    "attempt": store.status(cell).get("attempt", 1),
                },
                folder=store.folder(cell),
                mode=mode,
            )

        return Guarded("wandb", wandb_run)

    def _report(self, scores: Sequence[Score], seconds: float, mirror: Mirror | None) -> None:
        log.info("%s  done in %.0f s: %s", self._label(), seconds, _summary(scores, self.protocol))
        if mirror is None:
            return
        named = {
            f"{score.eval_set}/{score.metric}"
            + ("" if score.decode_seed is None else f"/seed_{score.decode_seed}"): score.value
            for score in scores
        }
        mirror.scores(named, self._some_generations(), step=last_step(self.store.journal_path(self.cell)))

    def _some_generations(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = []
        folder = self.store.generations_folder(self.cell)
        per_set = -(-self.run.logger.num_generations // max(1, len(self.protocol.sets)))
        for set_name, each in self.protocol.sets.items():
            assert each.data is not None
            file = generations_path(folder, self.protocol.generation_id(self.cell.id, set_name, each.decode_seeds[0]))
            responses = read_responses(file, num_rows=len(each.data))
            shown = list(zip(each.data.questions, responses, each.data.references, strict=True))[:per_set]
            rows += [
                {"set": set_name, "prompt": question, "response": response, "reference": references[0]}
                for question, response, references in shown
            ]
        return rows[: self.run.logger.num_generations]


def _summary(scores: Sequence[Score], protocol: Protocol) -> str:
    """Each set's own metric, averaged over decode seeds, on one line."""
    by_metric: dict[str, dict[str, list[float]]] = {}
    order = [*protocol.sets, VALIDATION]
    for score in sorted(scores, key=lambda score: order.index(score.eval_set)):
        own = "rouge_l" if score.eval_set == VALIDATION else protocol.sets[score.eval_set].metric
        if score.metric == own:
            by_metric.setdefault(own, {}).setdefault(score.eval_set, []).append(score.value)
    return "; ".join(
        f"{'ROUGE-L' if metric == 'rouge_l' else metric} "
        + "  ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in by_set.items())
        for metric, by_set in by_metric.items()
    )
