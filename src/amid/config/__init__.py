"""The typed configuration: one dataclass per node of a run, one file per subject.

Every field says its meaning and unit. Checks run in `__post_init__`, that is when `run_config` turns the composed
configuration into objects; the sweeper does so for every cell before the first one starts. No torch here, so
that plans, status and tables work on a login node.
"""

from amid.config.asking import FIELDS_OF_FORMAT, FORMATS, PROMPTS, asks_in_turns
from amid.config.corpus import WRITERS, CorpusCfg
from amid.config.evaluation import (
    DECODING_KEYS,
    EVALUATION_SOURCES,
    GENERATION_PRECISIONS,
    EvaluationCfg,
    EvaluationSetCfg,
    HubCfg,
    check_metric,
)
from amid.config.keys import explain_unknown
from amid.config.method import MethodCfg, fixed_overrides
from amid.config.objective import (
    DIVERGENCE_PARAMS,
    ORDERS,
    REDUCTIONS,
    SCHEDULE_PARAMS,
    AmidCfg,
    DivergenceCfg,
    ObjectiveCfg,
    ScheduleCfg,
)
from amid.config.pair import (
    DTYPES,
    QUANTISATIONS,
    ROLES,
    SCRATCH,
    SMOLLM2_PACKAGE,
    TEACHER,
    VOCAB_POLICIES,
    ArchCfg,
    LoraCfg,
    PairCfg,
    Role,
    SftCfg,
)
from amid.config.plain import from_plain
from amid.config.plain_text import PLAIN_TEXT_SOURCES, PlainTextCfg
from amid.config.resources import (
    LOGGERS,
    WANDB_MODES,
    LoggerCfg,
    PathsCfg,
    TrainerCfg,
)
from amid.config.run import (
    TASKS,
    RunCfg,
    check_whole,
    config_root,
    register,
    run_config,
)
from amid.config.strategy import (
    BUFFER_SCOPES,
    OF_ADVANTAGES,
    REFERENCES,
    REPLAY_RATIOS,
    STRATEGY_OPTIONS,
    StrategyCfg,
)
from amid.config.sweep import LAYOUT, GroupCfg, SelectCfg, SweepCfg, TableCfg
from amid.config.terms import (
    KINDS,
    DivergenceTermCfg,
    LabelsTermCfg,
    MaxTermCfg,
    PolicyGradientTermCfg,
    TermCfg,
    compiled_terms,
    kd_ratio_of,
)
from amid.config.train import (
    DATA_SOURCES,
    PRECISIONS,
    SELECTIONS,
    CompatCfg,
    DataCfg,
    TrainCfg,
    ValidationCfg,
)

__all__ = [
    "AmidCfg",
    "ArchCfg",
    "BUFFER_SCOPES",
    "CompatCfg",
    "CorpusCfg",
    "DATA_SOURCES",
    "DECODING_KEYS",
    "DIVERGENCE_PARAMS",
    "DTYPES",
    "DataCfg",
    "DivergenceCfg",
    "DivergenceTermCfg",
    "EVALUATION_SOURCES",
    "EvaluationCfg",
    "EvaluationSetCfg",
    "FIELDS_OF_FORMAT",
    "FORMATS",
    "GENERATION_PRECISIONS",
    "GroupCfg",
    "HubCfg",
    "KINDS",
    "LOGGERS",
    "LAYOUT",
    "LabelsTermCfg",
    "MaxTermCfg",
    "PolicyGradientTermCfg",
    "LoggerCfg",
    "LoraCfg",
    "MethodCfg",
    "ORDERS",
    "PLAIN_TEXT_SOURCES",
    "ObjectiveCfg",
    "PRECISIONS",
    "PROMPTS",
    "QUANTISATIONS",
    "PairCfg",
    "PathsCfg",
    "PlainTextCfg",
    "REDUCTIONS",
    "REFERENCES",
    "REPLAY_RATIOS",
    "ROLES",
    "Role",
    "RunCfg",
    "SCHEDULE_PARAMS",
    "SCRATCH",
    "SELECTIONS",
    "SMOLLM2_PACKAGE",
    "OF_ADVANTAGES",
    "STRATEGY_OPTIONS",
    "ScheduleCfg",
    "SelectCfg",
    "SftCfg",
    "StrategyCfg",
    "SweepCfg",
    "TASKS",
    "TEACHER",
    "TableCfg",
    "TermCfg",
    "TrainCfg",
    "TrainerCfg",
    "VOCAB_POLICIES",
    "ValidationCfg",
    "WANDB_MODES",
    "WRITERS",
    "asks_in_turns",
    "check_metric",
    "check_whole",
    "compiled_terms",
    "config_root",
    "explain_unknown",
    "fixed_overrides",
    "from_plain",
    "kd_ratio_of",
    "register",
    "run_config",
]
