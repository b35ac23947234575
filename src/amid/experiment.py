"""The composition root: the only place where a configuration becomes models, objectives and trainers."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from amid.cells.cell import Cell, cell_of
from amid.cells.stage import Stage
from amid.config import Role, RunCfg
from amid.config.names import refuse_links
from amid.errors import RankLostError, RunError, StoppedError, TakenOverError
from amid.evaluation.endings import Validated, progress_of, validated, warnings_of, warnings_of_strategy
from amid.evaluation.protocol import Protocol, protocol_of, set_protocols
from amid.evaluation.summary import summary_of
from amid.evaluation.writer import Job
from amid.pairs import Pair, shared_vocab_size
from amid.ranks import ALONE, Ranks, joined
from amid.stages.builders import BUILDERS
from amid.stages.corpus import written_examples
from amid.stages.ensure import write_model
from amid.stages.evaluation import EntryEvaluation
from amid.stages.following import CELL, Following
from amid.stages.stages import Materials, Stages
from amid.stopping import end_undisturbed, heeded
from amid.store import Entry, Score, State, Store
from amid.store.claims import Claim, held
from amid.store.failures import name_of, not_trained, recorded
from amid.store.frozen import Request, check_same_cell, freeze
from amid.store.status import spent_in
from amid.store.watch import Patience
from amid.sweep.labels import label
from amid.sweep.plan import is_evaluated, manifest_of
from amid.sweep.preflight import check_run
from amid.sweep.progress import progress_line
from amid.sweep.single import planned_single, record_single, sweep_of_single
from amid.sweep.wandb_runs import cell_mirror, say_how_to_sync, show_references, show_results
from amid.training.fit import fit_student
from amid.training.mirrors import CsvMirror, Guarded, Mirror
from amid.training.objective import objective_of
from amid.training.optimisation import Reduction
from amid.training.plan import PlainTextPlan, TrainingPlace, TrainingPlan
from amid.training.trainer import FitResult

log = logging.getLogger(__name__)


def run_task(run: RunCfg, *, planned: Request | None = None, waits: bool = True, overrides: Sequence[str] = ()) -> None:
    """Carries out the task of one checked configuration.

    planned: the frozen request it comes from, whose cell it must still name; otherwise the request is frozen now, and
    recorded as a single run. overrides: as that was asked for.
    waits: for a cell that another process runs; without, it is left to that process.
    Raises RequestError for what cannot be carried out, RunError for what failed (traceback in the cell's folder).
    """
    transformers_logging.set_verbosity_error()  # its advice to developers is not our user's
    with joined(run.trainer.devices, ending=end_undisturbed) as ranks, heeded():
        experiment = Experiment(run, ranks, waits=waits, checked=planned is None)
        if planned is not None:
            check_same_cell(planned, experiment.cell)
        if not ranks.leads:
            check_run(run)  # as rank 0 does, so that nobody waits for a rank that has refused
            experiment.follow()
            return
        finished = planned is None and experiment.finished
        if planned is None and not finished:
            if run.task == "evaluate":
                experiment.check_trained()
            refuse_links(experiment.store.folder(experiment.cell))
            check_run(run)  # a bad request leaves nothing in the store
            freeze(run, experiment.cell, experiment.store)
        if planned is None and (not finished or os.access(experiment.store.root, os.W_OK)):
            record_single(run, experiment.cell, experiment.protocol, overrides, experiment.store)
        if run.task == "prepare":
            experiment.prepare()
        elif run.task == "evaluate":
            experiment.evaluate_again()
        else:
            experiment.distill()
        if run.logger.name == "wandb" and run.task != "prepare" and not finished and waits:
            experiment.show_in_wandb()
        ranks.broadcast(None)  # after an error nobody waits for it: whoever started the processes ends them


class Experiment:
    """One cell with its stages.

    checked: the request has passed its checks just now; otherwise, in a job that was planned, what they find is news of
    this machine, and recorded as the cell's failure.
    """

    def __init__(self, run: RunCfg, ranks: Ranks = ALONE, *, waits: bool = True, checked: bool = True) -> None:
        self.run = run
        self.cell: Cell = cell_of(run, read_again=True)
        self.store = Store(run.paths.results)
        self._cache = Path(run.paths.cache)
        self.stages = Stages(
            self.cell.stages,
            Materials(run.pair, run.data, run.corpus, self._cache, run.trainer),
            builders=BUILDERS,
            store=self.store,
            ranks=ranks,
        )
        self.protocol: Protocol = protocol_of(
            set_protocols(run.data, run.evaluation),
            run.train.validation,
            self.cell.values["data"],
            teacher=self.cell.stages["teacher"].id,
            temperatures=run.evaluation.also_tuned or (),
        )
        self._plan = plan_of(run)
        self._evaluate = EntryEvaluation(self.stages, self.cell, protocol=self.protocol, plan=self._plan)
        self._ranks = ranks
        self._waits = waits
        self._checked = checked

    @property
    def finished(self) -> bool:
        """Trained and evaluated under the protocol asked for; its model is what was published, or was removed."""
        store, cell = self.store, self.cell
        evaluated = is_evaluated(store, cell, self.protocol)
        # Looked at in any case: a damaged model must be known before it is claimed for evaluation
        return (evaluated and store.is_pruned(cell)) or (store.is_finished(cell) and evaluated)

    # Tasks

    def prepare(self) -> None:
        """Builds the stages, and evaluates teacher and initial student."""
        if not self._checked:
            check_run(self.run)
        self._prepare()

    def distill(self) -> None:
        """Trains the cell unless it is trained, and evaluates it unless it is evaluated."""
        cell = self.cell
        if self.finished:
            gone = f"; its model is gone from {self.store.model_folder(cell)} and is trained again when it is needed"
            log.info("cell %s is finished: nothing to run%s", cell.id, gone if self.store.is_pruned(cell) else "")
            return
        for text in cell.ignored:
            log.info("note: %s", text)
        patience, before = Patience(), self.store.state(cell)
        while (claim := self.store.claim(cell)) is None:
            if self.store.state(cell) == "done":
                self._say_progress("done")
                self._evaluate_trained(prepare=True)
                return
            if not self._may_look_again(patience):
                return
        with held(claim), recorded(self.store, cell):
            self._say_progress(before)
            if not self._checked:
                check_run(self.run)
            self._prepare()
            self._train(claim)

    def evaluate_again(self) -> None:
        """Evaluates a trained cell under the present protocol.

        Raises RequestError if it is not trained, RunError if its model has changed since.
        """
        self.check_trained()
        self._say_progress("done")
        self._evaluate_trained(prepare=False)

    def check_trained(self) -> None:
        """Raises RequestError for a cell that has not been trained."""
        if self.store.state(self.cell) not in ("done", "damaged"):
            raise not_trained(self.cell)

    def _evaluate_trained(self, *, prepare: bool) -> None:
        store, cell = self.store, self.cell
        if store.state(cell) == "done" and is_evaluated(store, cell, self.protocol):
            log.info("cell %s is evaluated: nothing to run", cell.id)
            return
        if not store.is_finished(cell):
            raise RunError(f"cell {cell.id} is damaged: {store.status(cell).get('error')}")
        patience = Patience()
        while (claim := store.claim_done(cell)) is None:
            if not self._may_look_again(patience) or is_evaluated(store, cell, self.protocol):
                return
        with held(claim), recorded(store, cell):
            if prepare:
                self._prepare()
            self._evaluate(cell, self.stages.finished_student(cell))
            store.set_evaluated(cell)
            self._show_again()

    def show_in_wandb(self) -> None:
        """What a single run leaves to its end: its teacher and initial student as runs too, and how to upload."""
        planned = planned_single(self.run, self.cell, self.protocol, (), self.store)
        manifest = manifest_of(sweep_of_single(planned))
        show_references([planned], self.store, sweep=str(manifest["name"]))
        say_how_to_sync(manifest, self.store)

    def _show_again(self) -> None:
        """Tells the cell's W&B run, which goes on for it, what a later evaluation came to."""
        mirror = self._mirror() if self.run.logger.name == "wandb" else None
        if mirror is not None:
            show_results(mirror, self.run, self.cell, self.protocol, self.store)
            mirror.close(failed=False)

    def _may_look_again(self, patience: Patience) -> bool:
        """Whether the cell may be free after a moment; False if it is left to the process that runs it.

        Raises RunError if it failed there.
        """
        store, cell = self.store, self.cell
        if not store.is_owned(cell):
            return True  # another process was faster, and has ended already
        if not self._waits:
            log.info("left alone: cell %s, which is run elsewhere (%s)", cell.id, store.owner(cell))
            return False
        patience.wait(lambda: f"cell {cell.id}, which is run elsewhere ({store.owner(cell)})")
        if not store.is_owned(cell) and store.state(cell) == "failed":
            raise RunError(f"cell {cell.id} failed in another process: {store.status(cell).get('error')}")
        return True

    def _prepare(self) -> None:
        for role, stage in self.cell.stages.items():
            self.stages.ensure(role)
            if stage.evaluated_as is not None and not is_evaluated(self.store, stage, self.protocol):
                self._evaluate_stage(role, stage)

    # Training

    def follow(self) -> None:
        """Takes part in whatever rank 0 announces, trainings and prompts, until it says that it has finished.

        Raises RunError if rank 0 is gone because it failed, RankLostError if it is gone without a word.
        """
        try:
            self._follow()
        except RankLostError:
            entries: list[Entry] = [self.cell, *self.cell.stages.values()]
            for entry in entries:
                if self.store.state(entry) == "failed":
                    raise RunError(f"{name_of(entry)} failed: {self.store.status(entry).get('error')}") from None
            raise

    def _follow(self) -> None:
        following = Following(self.stages, self.cell)
        while (announced := self._ranks.broadcast(None)) is not None:
            if isinstance(announced, Job):
                following.answer(announced)
                continue
            following.drop()
            if announced == CELL:
                pair = self._pair()
                self._fit(pair, mirrors=())
                following.hold(CELL, pair.student)
            else:
                self.stages.take_part(announced)

    def _train(self, claim: Claim) -> None:
        cell, store, start = self.cell, self.store, time.perf_counter()
        mirror = self._mirror()
        mirrors = () if mirror is None else (mirror,)
        failed, stopped = True, False
        try:
            if store.adopt_model(cell):
                log.info("%s  was trained by an earlier attempt", self._label())
                student = self.stages.finished_student(cell)
            else:
                student = self._trained(claim, mirrors=mirrors)
            scores = self._evaluate(cell, student)
            seconds = time.perf_counter() - start
            end, began = self._validated(cell), self._validated(cell.stages["student_init"])
            assert end is not None  # it was measured just now
            warnings = warnings_of(
                end,
                began,
                select=cast(Literal["rouge_l", "loss"], self._plan.train.validation.select),
                vocab_size=self.stages.vocab_size("student", student),
            )
            warnings += warnings_of_strategy(self.run.strategy.name, spent_in(store.status(cell)))
            store.set_status(cell, "done", seconds=round(seconds, 1), warnings=warnings)
            shutil.rmtree(store.checkpoints_folder(cell), ignore_errors=True)  # the weights are in model/
            self._report(scores, seconds, mirror)
            if began is not None:
                log.info("%s  validation: %s", self._label(), progress_of(began, end))
            for text in warnings:
                log.warning("%s  %s", self._label(), text)
            failed = False
        except (StoppedError, TakenOverError, KeyboardInterrupt):
            stopped = True
            raise
        finally:
            for open_mirror in mirrors:
                open_mirror.close(failed=failed, stopped=stopped)

    def _trained(self, claim: Claim, *, mirrors: Sequence[Mirror]) -> PreTrainedModel:
        """The student with its best weights, which are in the store afterwards."""
        pair = self._pair()
        self._ranks.broadcast(CELL)
        result = self._fit(pair, mirrors=mirrors)
        partial = self.store.partial_model(self.cell, claim)
        write_model(pair.student, self.stages.written_as(pair.student, "student"), partial)
        spent = {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in result.spent.state_dict().items()
        }
        self.store.publish_model(
            self.cell, partial, train_seconds=round(result.seconds, 1), best=result.best_value, spent=spent
        )
        return pair.student

    def _pair(self) -> Pair:
        stages = self.stages
        student, tokenizer = stages.model("student_init"), stages.tokenizer("student")
        teacher = stages.model("teacher") if self._plan.reads_teacher else None
        if teacher is None:
            vocab_size = stages.vocab_size("student", student)
        else:
            vocab_size = shared_vocab_size(teacher, student, stages.tokenizer("teacher"), tokenizer)
        return Pair(teacher=teacher, student=student, tokenizer=tokenizer, vocab_size=vocab_size)

    def _fit(self, pair: Pair, *, mirrors: Sequence[Mirror]) -> FitResult:
        """Train the pair's student, which holds the best weights afterwards; every rank calls it."""
        # As the teacher reads the data: its words are what the student learns
        role: Role = "teacher" if pair.teacher is not None else "student"
        tokenised, plain = self.stages.tokenised, self._plan.plain_text
        examples = tokenised.examples(role, pair.vocab_size, num_train=self._plan.num_train)
        if self.run.corpus.is_written:
            examples = written_examples(self.stages, examples, vocab_size=pair.vocab_size)
        return fit_student(
            pair,
            examples,
            tokenised.dev(role, pair.vocab_size),
            None
            if plain is None
            else tokenised.plain_chunks(self.run.plain_text, role, pair.vocab_size, batch_size=plain.batch_size),
            plan=self._plan,
            place=TrainingPlace(
                resources=self.run.trainer,
                checkpoints=self.store.checkpoints_folder(self.cell),
                journal=self.store.journal_path(self.cell),
                label=self._label(),
                ranks=self._ranks,
                mirrors=mirrors,
                check=self.store.guard(self.cell),
            ),
        )

    # Evaluation

    def _evaluate_stage(self, role: str, stage: Stage) -> None:
        patience = Patience()
        while (claim := self.store.claim_done(stage)) is None:
            patience.wait(lambda: f"{stage.kind} {stage.id}, which is evaluated elsewhere ({self.store.owner(stage)})")
            if is_evaluated(self.store, stage, self.protocol):
                return
        with held(claim), recorded(self.store, stage):
            scores = self._evaluate(stage, self.stages.model(role))
            self.store.set_evaluated(stage)
        log.info("%s %s: %s", stage.title, stage.id, summary_of(scores, self.protocol))

    def _validated(self, entry: Entry) -> Validated | None:
        return validated(self.store.read([entry]), self.protocol.validation_id(entry.id))

    # What a person sees

    def _say_progress(self, before: State) -> None:
        line = progress_line(self.store, self.run.sweep.name, self.cell.id, before=before)
        if line is not None:
            log.info("%s", line)

    def _label(self) -> str:
        amid, divergence, strategy = self.run.amid, self.run.divergence, self.run.strategy
        if self.run.objective.terms is not None:
            terms = " + ".join(f"{term.weight:g} {term.kind}" for term in self.run.terms)
            return f"{self.cell.id} {terms} {strategy.name}"
        assistant = f"alpha={label(amid.alpha)} lam={label(amid.lam)}"
        return f"{self.cell.id} {assistant} {divergence.name}/{divergence.order} {strategy.name}"

    def _mirror(self) -> Mirror | None:
        logger, store, cell = self.run.logger, self.store, self.cell
        if logger.name == "none":
            return None
        if logger.name == "csv":
            return Guarded("logger=csv", lambda: CsvMirror(store.folder(cell)))

        return Guarded("wandb", lambda: cell_mirror(self.run, cell, store, name=self._label()))

    def _report(self, scores: Sequence[Score], seconds: float, mirror: Mirror | None) -> None:
        log.info("%s  done in %.0f s: %s", self._label(), seconds, summary_of(scores, self.protocol))
        if mirror is not None:
            show_results(mirror, self.run, self.cell, self.protocol, self.store)


def plan_of(run: RunCfg) -> TrainingPlan:
    """The training of a cell, its objective as new."""
    return TrainingPlan(
        train=run.train,
        data=run.data,
        objective=objective_of(run.terms, run.compat),
        seed=run.seed,
        num_train=run.data.num_train,
        reduction="micro_batch_mean" if run.compat.micro_batch_mean else cast(Reduction, run.objective.reduction),
        strategy=run.strategy,
        compat=run.compat,
        sources=tuple(term.source for term in run.terms),
        plain_text=PlainTextPlan(
            objective=objective_of(run.plain_text_terms, run.compat),
            coefficient=run.objective.lm_coef,
            batch_size=run.plain_text_batch_size,
        )
        if run.plain_text_terms
        else None,
    )
