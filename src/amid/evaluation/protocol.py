"""The evaluation protocol: which prompts, decoding and seeds; it names every file of generations. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from amid.cells.canonical import ID_DIGITS
from amid.config import DECODING_KEYS, DataCfg, EvaluationCfg, EvaluationSetCfg, ValidationCfg
from amid.data.evaluation_sets import EvaluationSet, evaluation_sets
from amid.data.prompt import PROMPT_VERSION
from amid.digests.fingerprint import value_digest
from amid.errors import RequestError
from amid.evaluation.own_metrics import is_own, metric_of, signature_of
from amid.generation.decoding import Decoding
from amid.metrics import METRICS, SELF_BLEU_PER_PROMPT, TEACHER_METRICS, VALIDATION_METRICS

FULL_PRECISION = "32-true"
LATER_FIELDS = ("repetition_penalty", "stop")  # of Decoding: left out of a generation id where they are neutral
GREEDY_SUFFIX = "_greedy"  # after the name of a sampled set that is answered greedily too
TUNED_SUFFIX = "_tuned"  # the same at the temperature that validation chose, whichever that is: in tables
VALIDATION = "validation"  # the set name of the scores on the validation records
# Part of every generation id, per kind of prompt. A chat's template belongs to the model and is named with it.
PROMPT_VERSIONS: Mapping[str, int | str] = {"alpaca": PROMPT_VERSION, "chat": "chat 1", "verbatim": "verbatim 1"}


@dataclass(frozen=True)
class SetProtocol:
    """How one set is asked, answered and scored.

    digest: of its prompts and references. max_prompt_tokens: longer prompts are cut, None = none is.
    decoding: what the sampler is given. precision: of the model while it answers.
    metric: the one in the table; it is one of `metrics`.
    twin_of: the sampled set of which this is another decoding; None for a set that was declared.
    chat_template: digest of the one it is asked in; None where that is the model's own, which is named with it.
    data: the texts; a protocol that comes from a manifest has none.
    """

    digest: str
    prompt: str
    max_prompt_tokens: int | None
    decoding: Decoding
    decode_seeds: tuple[int, ...]
    metric: str
    metrics: tuple[str, ...]
    precision: str = FULL_PRECISION
    version: int = 1
    twin_of: str | None = None
    chat_template: str | None = None
    data: EvaluationSet | None = field(compare=False, repr=False, default=None)

    @property
    def identity(self) -> dict[str, Any]:
        """What names the responses of one checkpoint and seed, besides these and the set's name."""
        later: dict[str, Any] = {} if self.version == 1 else {"version": self.version}
        if self.chat_template is not None:
            later["chat_template"] = self.chat_template
        return {
            "set": self.digest,
            "prompt_version": PROMPT_VERSIONS[self.prompt],
            "max_prompt_tokens": self.max_prompt_tokens,
            "decoding": self._decoding_identity(),
            **later,
        }

    def _decoding_identity(self) -> dict[str, Any]:
        """The decoding without fields that came later and are neutral: older generations keep their ids."""
        neutral = asdict(Decoding(max_new_tokens=1))
        decoding = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.decoding).items()
            if name not in LATER_FIELDS or value != neutral[name]
        }
        return decoding if self.precision == FULL_PRECISION else {**decoding, "precision": self.precision}


@dataclass(frozen=True)
class Protocol:
    """What a model is evaluated on; two protocols that would give the same texts name the same generations.

    validation: what names the responses that selected the weights; None for a model that was not trained here.
    teacher: id of the teacher that the model is compared with on the validation records; None for no comparison.
    temperatures: among which validation chooses, for each model, another one to answer the sampled sets at; ascending,
    none if it does not. `amid.evaluation.tuning` has the choice.
    """

    sets: Mapping[str, SetProtocol]
    validation: Mapping[str, Any] | None
    teacher: str | None = None
    temperatures: tuple[float, ...] = ()

    @property
    def sampled(self) -> tuple[str, ...]:
        """The declared sets that are sampled: those that have other decodings."""
        return tuple(name for name, each in self.sets.items() if each.twin_of is None and _is_sampled(each))

    def at(self, temperature: float) -> Protocol:
        """This protocol with every sampled set at that temperature too; those that are there stay as they are."""
        names = {name: self.name_at(name, temperature) for name in self.sampled}
        twins = {named: _twin(self.sets[name], name, temperature) for name, named in names.items()}
        return replace(self, sets={**self.sets, **{name: twins[name] for name in twins if name not in self.sets}})

    def name_at(self, set_name: str, temperature: float) -> str:
        """What a sampled set is called at a temperature; at its own it is itself."""
        same = self.sets[set_name].decoding.temperature == temperature
        return set_name if same else _twin_name(set_name, temperature)

    def generation_id(self, entry_id: str, set_name: str, decode_seed: int) -> str:
        """Id (12 hex digits) of the responses of one entry on one set with one seed."""
        return value_digest(
            {
                "checkpoint": entry_id,
                "set_name": set_name,  # part of every response's random key
                "decode_seed": decode_seed,
                **self.sets[set_name].identity,
            },
            digits=ID_DIGITS,
        )

    def group_id(self, set_name: str) -> str:
        """Id of a set with its decoding: scores of two checkpoints compare only under the same one."""
        return value_digest({"set_name": set_name, **self.sets[set_name].identity}, digits=ID_DIGITS)

    def validation_id(self, entry_id: str, temperature: float | None = None) -> str:
        """Id of the validation responses of one entry; temperature: None for the one that selected the weights."""
        assert self.validation is not None
        other = {} if temperature is None else {"temperature": temperature}
        return value_digest({"checkpoint": entry_id, VALIDATION: {**self.validation, **other}}, digits=ID_DIGITS)

    def tuning_score_id(self, entry_id: str, temperature: float) -> str:
        """Id of the score by which validation chooses among temperatures."""
        rouge_l = METRICS["rouge_l"]
        return score_id(self.validation_id(entry_id, temperature), rouge_l.name, rouge_l.signature)

    def validation_name(self, temperature: float) -> str:
        """The set name of the scores on the validation records at a temperature."""
        assert self.validation is not None
        own = self.validation.get("temperature") == temperature
        return VALIDATION if own else _twin_name(VALIDATION, temperature)

    def comparison_id(self, entry_id: str) -> str:
        """Id of the comparison of one entry with the teacher, token by token of the validation records."""
        assert self.validation is not None and self.teacher is not None
        read = {name: self.validation[name] for name in ("data", "num_examples") if name in self.validation}
        return value_digest({"checkpoint": entry_id, "teacher": self.teacher, VALIDATION: read}, digits=ID_DIGITS)

    def pooled_id(self, entry_id: str, set_name: str) -> str:
        """Id of the texts of all decode seeds on one set."""
        return value_digest(
            [self.generation_id(entry_id, set_name, seed) for seed in self.sets[set_name].decode_seeds],
            digits=ID_DIGITS,
        )

    def expected(self, entry_id: str) -> set[str]:
        """The score id of every score that a fully evaluated entry has.

        Without those at the temperature that is chosen: `tuned` gives the protocol that has them.
        """
        ids = set()
        if self.validation is not None:
            validation_id = self.validation_id(entry_id)
            measured = (METRICS["rouge_l"], *VALIDATION_METRICS.values())
            ids |= {score_id(validation_id, metric.name, metric.signature) for metric in measured}
            if self.teacher is not None:
                compared = self.comparison_id(entry_id)
                ids |= {score_id(compared, metric.name, metric.signature) for metric in TEACHER_METRICS.values()}
            ids |= {self.tuning_score_id(entry_id, temperature) for temperature in self.temperatures}
        for name, each in self.sets.items():
            for seed in each.decode_seeds:
                generation_id = self.generation_id(entry_id, name, seed)
                ids |= {score_id(generation_id, metric, signature_of(metric)) for metric in each.metrics}
            if "self_bleu" in each.metrics and len(each.decode_seeds) > 1:
                ids.add(score_id(self.pooled_id(entry_id, name), "self_bleu", SELF_BLEU_PER_PROMPT))
        return ids

    def expected_per_example(self, entry_id: str) -> set[str]:
        """The score ids among `expected` that certainly come with a value per example; a user's own may too."""
        return {
            score_id(self.generation_id(entry_id, name, seed), metric, signature_of(metric))
            for name, each in self.sets.items()
            for seed in each.decode_seeds
            for metric in each.metrics
            if metric in METRICS and METRICS[metric].per_example is not None
        }

    def manifest(self) -> dict[str, Any]:
        """The protocol as plain data, without the texts."""
        sets = {name: asdict(each) for name, each in self.sets.items()}
        for values in sets.values():
            del values["data"]
            for later in ("twin_of", "chat_template"):
                if values[later] is None:  # so that a sweep without one is recorded as before there were any
                    del values[later]
        more: dict[str, Any] = {} if self.teacher is None else {"teacher": self.teacher}
        if self.temperatures:
            more["temperatures"] = list(self.temperatures)
        return {"sets": sets, "validation": None if self.validation is None else dict(self.validation), **more}


def score_id(generation_id: str, metric: str, signature: str) -> str:
    """Id (12 hex digits) of a metric in one version on the texts of one generation id."""
    return value_digest([generation_id, metric, signature], digits=ID_DIGITS)


def protocol_of(
    sets: Mapping[str, SetProtocol],
    validation: ValidationCfg,
    data_identity: Mapping[str, Any],
    *,
    teacher: str | None = None,
    temperatures: Sequence[float] = (),
) -> Protocol:
    """The protocol of a cell whose data have the given identity (`cell.values["data"]`), on sets of `set_protocols`.

    teacher: id of the cell's teacher. temperatures: among which validation chooses, where a set is sampled.
    """
    made = Protocol(
        sets=sets,
        validation={
            "data": dict(data_identity),
            "num_examples": validation.num_examples,
            "max_new_tokens": validation.max_new_tokens,
            "temperature": validation.temperature,
            "seed": validation.seed,
        },
        teacher=teacher,
    )
    return replace(made, temperatures=tuple(sorted(temperatures))) if made.sampled else made


def set_protocols(data: DataCfg, evaluation: EvaluationCfg) -> dict[str, SetProtocol]:
    """Set name -> how it is asked, answered and scored: the declared sets, then the greedy twins of sampled ones.

    Reads the sets; raises RequestError as they do, and for a twin whose name is taken.
    """
    texts = evaluation_sets(data, evaluation)
    protocols: dict[str, SetProtocol] = {}
    for name, declared in evaluation.sets.items():
        decoding = decoding_of(evaluation, declared)
        others = declared.metrics if evaluation.metrics is None else evaluation.metrics
        metrics = tuple(dict.fromkeys([declared.metric, *others]))
        if "comet" in metrics and find_spec("comet") is None:
            raise RequestError(f"evaluation set '{name}': comet needs an extra: pip install 'amid-lab[comet]'")
        _check_metrics(metrics, texts[name], set_name=name)
        assert declared.prompt is not None  # null has got its value
        template = texts[name].chat_template
        greedy = decoding.temperature == 0  # then every seed gives the same text
        protocols[name] = SetProtocol(
            digest=texts[name].digest,
            prompt=declared.prompt,
            max_prompt_tokens=declared.max_prompt_tokens,
            decoding=decoding,
            decode_seeds=tuple(evaluation.decode_seeds[:1] if greedy else evaluation.decode_seeds),
            metric=declared.metric,
            metrics=metrics,
            precision=evaluation.precision,
            version=declared.version,
            chat_template=None if template is None else value_digest(template),
            data=texts[name],
        )
    also_tuned = evaluation.also_tuned or ()
    _check_twin_names(protocols, temperatures=also_tuned, suffixes=[TUNED_SUFFIX] if also_tuned else [])
    return protocols | _greedy_twins(protocols) if evaluation.also_greedy else protocols


def _greedy_twins(protocols: Mapping[str, SetProtocol]) -> dict[str, SetProtocol]:
    """By name, the greedy decoding of every sampled set. Raises RequestError for a name that is taken."""
    twins = {}
    for name, each in protocols.items():
        if not _is_sampled(each):
            continue
        twin = _twin_name(name, 0.0)
        if twin in protocols:
            raise _taken("evaluation.also_greedy=true", name, twin)
        twins[twin] = _twin(each, name, 0.0)
    return twins


def _check_twin_names(
    protocols: Mapping[str, SetProtocol], *, temperatures: Sequence[float], suffixes: Sequence[str]
) -> None:
    """Raises RequestError where a set has the name that another one may get at one of the temperatures."""
    for name in (name for name, each in protocols.items() if _is_sampled(each)):
        for twin in [*(_twin_name(name, each) for each in temperatures), *(f"{name}{suffix}" for suffix in suffixes)]:
            if twin in protocols:
                raise _taken("evaluation.also_tuned", name, twin)


def _taken(option: str, name: str, twin: str) -> RequestError:
    return RequestError(f"{option} answers the set '{name}' as '{twin}' too, which is a set already; rename that one")


def _is_sampled(each: SetProtocol) -> bool:
    return each.decoding.temperature > 0


def _twin_name(name: str, temperature: float) -> str:
    return f"{name}{GREEDY_SUFFIX}" if temperature == 0 else f"{name}_t{temperature:g}"


def _twin(each: SetProtocol, name: str, temperature: float) -> SetProtocol:
    """A sampled set, which has that name, at another temperature."""
    if temperature > 0:
        return replace(each, decoding=replace(each.decoding, temperature=temperature), twin_of=name)
    # Neutral top_k and top_p, which mean nothing here: the twin keeps its texts whatever is tried when sampling
    decoding = replace(each.decoding, temperature=0.0, top_k=0, top_p=1.0)
    return replace(each, decoding=decoding, decode_seeds=each.decode_seeds[:1], twin_of=name)


def _check_metrics(metrics: Sequence[str], texts: EvaluationSet, *, set_name: str) -> None:
    """Raises RequestError for a metric that the set cannot have, before a model has answered it."""
    where = f"evaluation set '{set_name}'"
    if "self_bleu" in metrics and len(texts) < 2:
        raise RequestError(
            f"{where} holds {len(texts)} record; self_bleu compares the responses to at least 2: leave it out of "
            "evaluation.metrics"
        )
    if "comet" in metrics:
        lacking = [index for index, source in enumerate(texts.sources) if not source.strip()]
        if lacking:
            raise RequestError(f"{where}: comet needs the source of every translation; example {lacking[0]} has none")
    for metric in filter(is_own, metrics):
        metric_of(metric)
    asked = [metric for metric in metrics if metric.startswith("gsm8k_")]
    if asked:
        from amid.metrics.gsm8k import gold_answers_of

        try:
            gold_answers_of(texts.references)
        except ValueError as err:
            raise RequestError(f"{where}: {asked[0]}: {err}") from err


def protocol_from_manifest(manifest: Mapping[str, Any]) -> Protocol:
    """The protocol that `Protocol.manifest` described, without its texts.

    Raises RequestError for a manifest of a version in which all sets had one decoding.
    """
    if "sets" not in manifest:
        raise RequestError("this sweep was recorded by an older version; run it again: nothing is trained twice")
    sets = {name: _set_from_manifest(name, values) for name, values in manifest["sets"].items()}
    return Protocol(
        sets=sets,
        validation=manifest.get("validation"),
        teacher=manifest.get("teacher"),
        temperatures=tuple(manifest.get("temperatures", ())),
    )


def decoding_of(evaluation: EvaluationCfg, declared: EvaluationSetCfg) -> Decoding:
    """How one set is answered: its own values, unless `evaluation` sets a value for all sets."""

    def chosen(name: str) -> Any:
        of_all = getattr(evaluation, name)
        return getattr(declared, name) if of_all is None else of_all

    return Decoding(**{name: chosen(name) for name in DECODING_KEYS}, stop=tuple(declared.stop))


def _set_from_manifest(name: str, values: Mapping[str, Any]) -> SetProtocol:
    lists = {key: tuple(values.get(key, ())) for key in ("decode_seeds", "metrics")}
    try:
        decoding = dict(values.get("decoding", {}))
        older = decoding.pop("precision", FULL_PRECISION)  # once a part of the decoding
        made = Decoding(**{**decoding, "stop": tuple(decoding.get("stop", ()))})
        return SetProtocol(**{**values, **lists, "decoding": made, "precision": values.get("precision", older)})
    except (TypeError, ValueError) as err:
        raise RequestError(f"the sweep's record of set '{name}' cannot be read ({err}); run it again") from err
