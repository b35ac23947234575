"""The composition root: the only place where a configuration becomes models, objectives and trainers."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from amid.artifacts import ensure_stage
from amid.cell import Cell, Stage, cell_of
from amid.claims import Claim, held
from amid.config import SCRATCH, TEACHER, RunCfg, SftCfg, TrainCfg, ValidationCfg
from amid.core import CrossEntropy, Objective
from amid.data.batch import Batch
from amid.data.loader import StepBatches, validation_batches
from amid.data.prompt import TEMPLATE_PIECES
from amid.data.records import training_records
from amid.data.tokenise import Example, eos_id, tokenise_records
from amid.errors import RequestError, RunError, one_line
from amid.evaluation import (
    evaluate_entry,
    read_responses,
    validation_loss,
    validation_rouge_l,
    validation_scores,
)
from amid.generation import Decoding
from amid.module import DistillModule, Optimisation, Reduction
from amid.objectives import objective_of
from amid.pairs import (
    Pair,
    keep_layers,
    load_model,
    load_tokenizer,
    model_from_scratch,
    num_non_embedding_parameters,
    quiet_loading,
    shared_vocab_size,
    train_tokenizer,
)
from amid.preflight import check_run
from amid.protocol import VALIDATION, VALIDATION_SIGNATURES, Protocol, protocol_of
from amid.store import Entry, Score, Store, generations_path
from amid.strategies import Fixed, Strategy
from amid.sweep import is_evaluated, label, resolved_config
from amid.tracking import CsvMirror, Journal, Mirror, WandbMirror
from amid.training import FitResult, fit, plan_steps

log = logging.getLogger(__name__)
MIB = 2**20
VALIDATION_BATCH_SIZE = 4  # examples whose logits are held at once when a finished model is validated


def run_task(run: RunCfg) -> None:
    """None; carries out the task of one checked configuration.

    Raises RequestError for what cannot be carried out, RunError for what failed (traceback in the cell's folder).
    """
    transformers_logging.set_verbosity_error()  # its advice to developers is not our user's
    experiment = Experiment(run)
    if run.task == "prepare":
        experiment.prepare()
    elif run.task == "evaluate":
        experiment.evaluate_again()
    else:
        experiment.distill()


class Experiment:
    """One cell with its stages: models and data are loaded when first needed, and once."""

    def __init__(self, run: RunCfg) -> None:
        self.run = run
        self.cell: Cell = cell_of(run)
        self.store = Store(run.paths.results)
        self.protocol: Protocol = protocol_of(run, self.cell.values["data"])
        self._cache = Path(run.paths.cache)
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._examples: tuple[list[Example], list[Example]] | None = None

    # Tasks

    def prepare(self) -> None:
        """None; builds the stages and evaluates teacher and initial student."""
        for stage, load in ((self.cell.teacher, self.teacher), (self.cell.student_init, self.initial_student)):
            self._ensure(stage)
            if not is_evaluated(self.store, stage, self.protocol):
                self._evaluate_stage(stage, load)

    def distill(self) -> None:
        """None; trains the cell unless it is trained, and evaluates it unless it is evaluated."""
        if self.store.state(self.cell) == "done" and is_evaluated(self.store, self.cell, self.protocol):
            log.info("cell %s is finished: nothing to run", self.cell.id)
            return
        check_run(self.run)
        for text in self.cell.ignored:
            log.info("note: %s", text)
        self.prepare()
        claim = self.store.claim(self.cell)
        if claim is None:
            if self.store.state(self.cell) != "done":
                log.info("cell %s is being run by another process", self.cell.id)
                return
            self.evaluate_again()
            return
        with held(claim):
            try:
                self._train(claim)
            except (Exception, KeyboardInterrupt) as err:
                self._record_failure(err)
                raise

    def evaluate_again(self) -> None:
        """None; evaluates a trained cell under the present protocol. Raises RequestError if it is not trained."""
        if self.store.state(self.cell) != "done":
            raise RequestError(f"cell {self.cell.id} is not trained yet; run it without task=evaluate first")
        if is_evaluated(self.store, self.cell, self.protocol):
            log.info("cell %s is evaluated: nothing to run", self.cell.id)
            return
        claim = self.store.claim_done(self.cell)
        if claim is None:
            log.info("cell %s is being evaluated by another process", self.cell.id)
            return
        with held(claim):
            student = load_model(str(self.store.model_folder(self.cell)), revision=None, cache=self._cache)
            self._evaluate(self.cell, student)

    # Parts

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The pair's one tokenizer; trained on the data for a teacher from scratch."""
        if self._tokenizer is None:
            if self.cell.tokenizer is None:
                pair = self.run.pair
                self._tokenizer = load_tokenizer(pair.teacher, revision=pair.teacher_revision, cache=self._cache)
            else:
                self._ensure(self.cell.tokenizer)
                folder = self.store.model_folder(self.cell.tokenizer)
                self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return self._tokenizer

    @property
    def examples(self) -> tuple[list[Example], list[Example]]:
        """Tokenised training and validation examples."""
        if self._examples is None:
            data = self.run.data
            train, dev = (
                tokenise_records(
                    records,
                    self.tokenizer,
                    max_prompt_tokens=data.max_prompt_tokens,
                    max_tokens=data.max_tokens,
                    truncate_prompt=data.truncate_prompt,
                )
                for records in training_records(data)
            )
            if not dev:
                raise RequestError(f"no validation record has a prompt within {data.max_prompt_tokens} tokens")
            self._examples = train, dev
        return self._examples

    def teacher(self) -> PreTrainedModel:
        """The teacher p, fine-tuned as the pair says."""
        self._ensure(self.cell.teacher)
        return self._stage_model(self.cell.teacher)

    def initial_student(self) -> PreTrainedModel:
        """The student q as every cell of the pair starts."""
        self._ensure(self.cell.student_init)
        return self._stage_model(self.cell.student_init)

    # Stages

    def _ensure(self, stage: Stage) -> None:
        builders = {
            "tokenizer": self._build_tokenizer,
            "teacher": self._build_teacher,
            "student_init": self._build_student,
        }
        ensure_stage(self.store, stage, builders[stage.kind])

    def _stage_model(self, stage: Stage) -> PreTrainedModel:
        folder = self.store.model_folder(stage)
        if (folder / "config.json").is_file():
            return load_model(str(folder), revision=None, cache=self._cache)
        pair = self.run.pair  # used as it is: only its identity is in the store
        role = "teacher" if stage.kind == "teacher" else "student"
        return load_model(getattr(pair, role), revision=getattr(pair, f"{role}_revision"), cache=self._cache)

    def _build_tokenizer(self, folder: Path, claim: Claim) -> None:
        vocab_size = self.run.pair.tokenizer_vocab_size
        assert vocab_size is not None
        records, _ = training_records(self.run.data)
        texts = [f"{record.instruction}\n{record.input}\n{record.outputs[0]}" for record in records]
        tokenizer = train_tokenizer(texts, vocab_size=vocab_size, whole_tokens=TEMPLATE_PIECES)
        tokenizer.save_pretrained(folder)
        log.info("tokenizer: byte-level BPE of %d tokens from %d records", len(tokenizer), len(records))

    def _build_teacher(self, folder: Path, claim: Claim) -> None:
        pair = self.run.pair
        if pair.teacher == SCRATCH:
            model = self._from_scratch("teacher")
        elif pair.teacher_sft.epochs == 0:
            return
        else:
            model = load_model(pair.teacher, revision=pair.teacher_revision, cache=self._cache)
        self._fine_tune(model, pair.teacher_sft, self.cell.teacher, folder)

    def _build_student(self, folder: Path, claim: Claim) -> None:
        pair = self.run.pair
        if pair.student == SCRATCH:
            model = self._from_scratch("student")
        elif pair.student == TEACHER:
            model = self.teacher()
        elif pair.student_sft.epochs == 0 and pair.keep_layers is None:
            return
        else:
            model = load_model(pair.student, revision=pair.student_revision, cache=self._cache)
        if pair.keep_layers is not None:
            model = keep_layers(model, pair.keep_layers)
        self._fine_tune(model, pair.student_sft, self.cell.student_init, folder)

    def _from_scratch(self, role: str) -> PreTrainedModel:
        pair = self.run.pair
        arch, sft = getattr(pair, f"{role}_arch"), getattr(pair, f"{role}_sft")
        return model_from_scratch(arch, vocab_size=len(self.tokenizer), eos_id=eos_id(self.tokenizer), seed=sft.seed)

    def _fine_tune(self, model: PreTrainedModel, sft: SftCfg, stage: Stage, folder: Path) -> None:
        """Fine-tune on the gold responses, keep the weights of the lowest validation loss, save them."""
        if sft.epochs > 0:
            train = TrainCfg(
                epochs=sft.epochs,
                max_steps=sft.max_steps,
                global_batch_size=sft.global_batch_size,
                lr=sft.lr,
                warmup_steps=sft.warmup_steps,
                weight_decay=sft.weight_decay,
                precision=self.run.train.precision,
                validation=ValidationCfg(select="loss", num_examples=sft.num_validation),
            )
            log.info(
                "%s: fine-tuning %.2f M parameters (%.2f M without embeddings) for %d epochs",
                stage.kind.replace("_", " "),
                model.num_parameters() / 1e6,
                num_non_embedding_parameters(model) / 1e6,
                sft.epochs,
            )
            self._fit(
                stage,
                Pair(teacher=None, student=model, tokenizer=self.tokenizer, vocab_size=int(model.config.vocab_size)),
                objective=Objective(terms=(CrossEntropy(weight=1.0),)),
                train=train,
                seed=sft.seed,
                mirrors=(),
                name=stage.kind.replace("_", " "),
            )
        _save(model, self.tokenizer, folder)

    # Training

    def _train(self, claim: Claim) -> None:
        run, cell = self.run, self.cell
        start = time.perf_counter()
        objective = objective_of(run)
        student = self.initial_student()
        teacher = self.teacher() if objective.needs_teacher else None
        vocab_size = (
            int(student.config.vocab_size) if teacher is None else shared_vocab_size(teacher, student, self.tokenizer)
        )
        pair = Pair(teacher=teacher, student=student, tokenizer=self.tokenizer, vocab_size=vocab_size)
        mirror = self._mirror()
        mirrors = () if mirror is None else (mirror,)
        failed = True
        try:
            result = self._fit(
                cell, pair, objective=objective, train=run.train, seed=run.seed, mirrors=mirrors, name=self._label()
            )
            claim.check()
            model_folder = self.store.model_folder(cell)
            partial = model_folder.with_name("model.partial")
            for leftover in (partial, model_folder):
                shutil.rmtree(leftover, ignore_errors=True)
            _save(student, self.tokenizer, partial)
            partial.rename(model_folder)
            scores = self._evaluate(cell, student)
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

    def _fit(
        self,
        entry: Entry,
        pair: Pair,
        *,
        objective: Objective,
        train: TrainCfg,
        seed: int,
        mirrors: Sequence[Mirror],
        name: str,
    ) -> FitResult:
        """Train the pair's student, which holds the best weights afterwards."""
        examples, dev = self.examples
        validation = train.validation
        dev = dev[: validation.num_examples]
        plan = plan_steps(
            len(examples),
            batch_size=train.global_batch_size,
            epochs=train.epochs,
            max_steps=train.max_steps,
            every_steps=validation.every_steps,
        )
        pad_id = eos_id(self.tokenizer)
        trainer_cfg = self.run.trainer
        module = DistillModule(
            pair,
            batch_of_step=StepBatches(examples, batch_size=train.global_batch_size, seed=seed, pad_id=pad_id),
            objective=objective,
            strategy=strategy_of(self.run),
            generate=_no_generation,
            optimisation=Optimisation(
                total_steps=plan.total_steps,
                lr=train.lr,
                lr_final=train.lr_final,
                warmup_steps=train.warmup_steps,
                weight_decay=train.weight_decay,
                grad_clip=train.grad_clip,
                max_nonfinite_share=train.max_nonfinite_share,
            ),
            reduction=self._reduction(),
            micro_batch_size=trainer_cfg.micro_batch_size,
            log_every_steps=trainer_cfg.log_every_steps,
            seed=seed,
            validation_rouge_l=self._validator(validation, dev) if isinstance(entry, Cell) else None,
        )
        batch_size = trainer_cfg.micro_batch_size or train.global_batch_size
        checkpoints = self.store.checkpoints_folder(entry)
        checkpoints.mkdir(parents=True, exist_ok=True)
        result = fit(
            module,
            validation_batches(dev, batch_size=batch_size, pad_id=pad_id),
            plan=plan,
            select="loss" if validation.select == "loss" else "rouge_l",
            precision=train.precision,
            trainer_cfg=trainer_cfg,
            checkpoints=checkpoints,
            loggers=[Journal(self.store.journal_path(entry), mirrors)],
            label=name,
        )
        best = torch.load(result.best_path, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(best)
        return result

    def _reduction(self) -> Reduction:
        if self.run.compat.micro_batch_mean:
            return "micro_batch_mean"
        return cast(Reduction, self.run.objective.reduction)

    def _validator(self, validation: ValidationCfg, dev: Sequence[Example]) -> Callable[[PreTrainedModel], float]:
        def rouge_l_of(model: PreTrainedModel) -> float:
            return validation_rouge_l(
                model,
                self.tokenizer,
                dev,
                decoding=Decoding(max_new_tokens=validation.max_new_tokens, temperature=validation.temperature),
                seed=validation.seed,
                batch_size=self.run.trainer.generation_batch_size,
                max_tokens=self.run.data.max_tokens,
            )

        return rouge_l_of

    # Evaluation

    def _evaluate_stage(self, stage: Stage, load: Callable[[], PreTrainedModel]) -> None:
        claim = self.store.claim_done(stage)
        while claim is None:
            if is_evaluated(self.store, stage, self.protocol):
                return
            time.sleep(1.0)
            claim = self.store.claim_done(stage)
        with held(claim):
            scores = self._evaluate(stage, load())
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
            self.tokenizer,
            self.protocol,
            entry=entry,
            store=self.store,
            batch_size=self.run.trainer.generation_batch_size,
        )
        return [score for score in self.store.read([entry]) if score.score_id in expected]

    def _validation_scores(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        validation = self.run.train.validation
        dev = self.examples[1][: validation.num_examples]
        return validation_scores(
            self.protocol,
            entry_id=entry.id,
            rouge=self._validator(validation, dev)(model),
            loss=validation_loss(
                model, validation_batches(dev, batch_size=VALIDATION_BATCH_SIZE, pad_id=eos_id(self.tokenizer))
            ),
            num_samples=len(dev),
        )

    # What a person sees

    def _label(self) -> str:
        amid, divergence = self.run.amid, self.run.divergence
        return f"{self.cell.id} alpha={label(amid.alpha)} lam={label(amid.lam)} {divergence.name}/{divergence.order}"

    def _mirror(self) -> Mirror | None:
        logger, folder = self.run.logger, self.store.folder(self.cell)
        if logger.name == "none":
            return None
        if logger.name == "csv":
            return CsvMirror(folder)
        lineage = self.store.status(self.cell).get("attempt", 1)
        return WandbMirror(
            logger,
            run_id=self.cell.id,
            name=self._label(),
            group=self.run.sweep.name,
            job_type=self.run.task,
            tags=[self.run.pair.name, self.run.data.source, self.run.divergence.name, self.run.strategy.name],
            config={**resolved_config(self.run), "cell_id": self.cell.id, "attempt": lineage},
            folder=folder,
        )

    def _report(self, scores: Sequence[Score], seconds: float, mirror: Mirror | None) -> None:
        log.info("%s  done in %.0f s: %s", self._label(), seconds, _summary(scores, self.protocol))
        if mirror is None:
            return
        named = {
            f"{score.eval_set}/{score.metric}"
            + ("" if score.decode_seed is None else f"/seed_{score.decode_seed}"): score.value
            for score in scores
        }
        mirror.scores(named, self._some_generations())
        if isinstance(mirror, WandbMirror) and mirror.offline_folder is not None:
            log.info("wandb: recorded offline; upload with: wandb sync %s", mirror.offline_folder)

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

    def _record_failure(self, err: BaseException) -> None:
        if isinstance(err, KeyboardInterrupt):
            return  # the claim is released: the cell is "stopped" and resumes next time
        self.store.set_failed(self.cell, str(err) or type(err).__name__, traceback.format_exc())
        if isinstance(err, (RunError, RequestError)):
            return
        raise RunError(
            f"cell {self.cell.id} failed: {one_line(str(err))[:300]} (traceback: {self.store.error_path(self.cell)})"
        ) from err


def strategy_of(run: RunCfg) -> Strategy:
    """The strategy of a configuration, as new."""
    strategies = {"fixed": Fixed}
    return strategies[run.strategy.name]()


def _no_generation(batch: Batch, *, policy: str) -> Batch:
    raise AssertionError("no strategy of this version generates while training")


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    with quiet_loading():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _summary(scores: Sequence[Score], protocol: Protocol) -> str:
    """Each set's own metric, averaged over decode seeds, on one line."""
    by_metric: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        own = "rouge_l" if score.eval_set == VALIDATION else protocol.sets[score.eval_set].metric
        if score.metric == own:
            by_metric.setdefault(own, {}).setdefault(score.eval_set, []).append(score.value)
    return "; ".join(
        f"{'ROUGE-L' if metric == 'rouge_l' else metric} "
        + "  ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in by_set.items())
        for metric, by_set in by_metric.items()
    )
