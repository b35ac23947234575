"""Files that cannot be used as they are: records, references, evaluation sets, configuration, and a user's divergence."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import RECORD, Case, Hostile, cases, with_folders

GOOD = RECORD.encode()
DEEP = b"[" * 100_000 + b"]" * 100_000
RUN = ("run.py", "data=jsonl", "data.root=data")

# fmt: off
# (id, content of data/train.jsonl, what must be said)
RECORDS = [
    ("empty", b"", "data/train.jsonl holds no record"),
    ("blank-lines", b"\n \n\t\n", "data/train.jsonl holds no record"),
    ("torn", GOOD * 40 + b'{"instruction": "Say hi.", "outp', ("data/train.jsonl:41", "not a JSON object")),
    ("text", b"Say hi.\n", ("data/train.jsonl:1", "not a JSON object")),
    ("list", b'["Say hi.", "Hi."]\n', ("data/train.jsonl:1", "a JSON object is needed, got list")),
    ("number", b"7\n", ("data/train.jsonl:1", "a JSON object is needed, got int")),
    ("null", b"null\n", ("data/train.jsonl:1", "got NoneType")),
    ("pretty-printed", b'{\n "instruction": "Say hi.",\n "output": "Hi."\n}\n', "data/train.jsonl:1: not a JSON object"),
    ("two-on-a-line", GOOD.strip() + GOOD, ("data/train.jsonl:1", "Extra data")),
    ("single-quotes", b"{'instruction': 'a', 'output': 'b'}\n", "data/train.jsonl:1: not a JSON object"),
    ("trailing-comma", b'{"instruction": "a", "output": "b",}\n', "data/train.jsonl:1: not a JSON object"),
    ("latin-1", '{"instruction": "é", "output": "b"}\n'.encode("latin-1"), ("data/train.jsonl:1", "utf-8")),
    ("utf-16", '{"instruction": "a", "output": "b"}\n'.encode("utf-16"), "not a JSON object"),
    ("binary", bytes(range(256)) * 4, "data/train.jsonl:1: not a JSON object"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + bytes(50), "data/train.jsonl:1: not a JSON object"),
    ("zeros", bytes(5000), "data/train.jsonl:1: not a JSON object"),
    ("no-output", b'{"instruction": "Say hi."}\n', ("field 'output' is missing", "found: instruction")),
    ("no-instruction", b'{"output": "Hi."}\n', "field 'instruction' is missing; found: output"),
    ("no-field", b"{}\n", "field 'instruction' is missing; found: none"),
    ("other-names", b'{"prompt": "a", "response": "b"}\n', "found: prompt, response"),
    ("output-number", b'{"instruction": "a", "output": 7}\n', "field 'output' must be a text or a non-empty list"),
    ("output-null", b'{"instruction": "a", "output": null}\n', "field 'output' must be a text"),
    ("output-no-text", b'{"instruction": "a", "output": []}\n', "field 'output' must be a text or a non-empty list"),
    ("output-list-of-numbers", b'{"instruction": "a", "output": ["b", 1]}\n', "field 'output' must be"),
    ("output-dict", b'{"instruction": "a", "output": {"text": "b"}}\n', "field 'output' must be"),
    ("instruction-number", b'{"instruction": 5, "output": "b"}\n', "field 'instruction' must be a text, got int"),
    ("instruction-list", b'{"instruction": ["a"], "output": "b"}\n', "field 'instruction' must be a text, got list"),
    ("input-number", b'{"instruction": "a", "input": 1.5, "output": "b"}\n', "field 'input' must be a text, got float"),
    ("prompt-empty", b'{"instruction": " ", "input": "", "output": "b"}\n', "the prompt is empty"),
    ("surrogate-escaped", rb'{"instruction": "a\ud800b", "output": "b"}' b"\n", (r"field 'instruction' holds \ud800", "pair")),
    ("surrogate-in-output", rb'{"instruction": "a", "output": "\uDFFF"}' b"\n", r"field 'output' holds \udfff"),
    ("surrogate-in-a-list", rb'{"instruction": "a", "output": ["b", "\udc00"]}' b"\n", r"field 'output' holds \udc00"),
    ("surrogate-raw", b'{"instruction": "\xed\xa0\x80", "output": "b"}\n', r"field 'instruction' holds \ud800"),
    ("surrogate-in-a-name", rb'{"instruction": "a", "output": "b", "\ud83d": 1}' b"\n", r"\ud83d"),
    ("deep", b'{"instruction": ' + DEEP + b', "output": "b"}\n', "nested too deeply"),
    ("long-number", b'{"instruction": "a", "output": ' + b"9" * 5000 + b"}\n", "not a JSON object"),
    ("escapes-in-a-name", b'{"\\u001b[2J": 1}\n', r"found: \x1b[2J"),
    ("direction-in-a-name", '{"\u202eabc": 1}\n'.encode(), r"found: \u202eabc"),
    ("fewer-than-a-batch", GOOD, "exceeds the 1 training records"),
]

# (id, content of data/answers.jsonl, options, what must be said)
ANSWERS = [
    ("empty", b"", "", "holds no record"),
    ("no-response", b'{"index": 0, "reference": "a"}\n', "", ("answers.jsonl:1", "field 'response' is missing")),
    ("no-reference", b'{"response": "a"}\n', "", ("answers.jsonl:1: no reference", "--references FILE or --set NAME")),
    ("response-number", b'{"response": 1, "reference": "a"}\n', "", "field 'response' must be a text, got int"),
    ("reference-number", b'{"response": "a", "reference": 1}\n', "", "field 'reference' must be a text"),
    ("references-none", b'{"response": "a", "references": []}\n', "", "field 'references' must be"),
    ("index-text", b'{"response": "a", "reference": "a", "index": "0"}\n', "", "field 'index' must be an integer from 0"),
    ("index-negative", b'{"response": "a", "reference": "a", "index": -1}\n', "", "field 'index' must be an integer from 0"),
    ("index-bool", b'{"response": "a", "reference": "a", "index": true}\n', "", "got True"),
    ("index-twice", b'{"response": "a", "reference": "a", "index": 0}\n' * 2, "", "has a response already"),
    ("index-missing", b'{"response": "a", "reference": "a", "index": 1}\n', "", "no response for example 0"),
    ("one-text", b'{"response": "a", "reference": "a"}\n', "--metrics self_bleu", ("self_bleu", "at least 2")),
    ("no-number", b'{"response": "a", "reference": "a"}\n', "--metrics gsm8k_accuracy", "gsm8k_accuracy"),
    ("surrogate", rb'{"response": "\ud800", "reference": "a"}' b"\n", "", r"field 'response' holds \ud800"),
    ("deep", b'{"response": ' + DEEP + b"}\n", "", "nested too deeply"),
    ("fewer-than-references", b'{"response": "a"}\n', "--references data/test.jsonl", "1 responses for 4 examples"),
    ("references-torn", b'{"response": "a"}\n', "--references data/answers.jsonl", "no reference"),
    ("escapes", b'{"reference": "a", "\\u001b]0;x\\u0007": 2}\n', "", r"found: \x1b]0;x\x07, reference"),
]

# (id, content of data/test.jsonl, the set's declaration beyond its file, what must be said)
SETS = [
    ("one-record", GOOD, "", ("evaluation set 'test' holds 1 record", "self_bleu")),
    ("nothing-left", GOOD * 3, "filter: {input: nothing}", "holds no record with {'input': 'nothing'}"),
    ("field-missing", GOOD * 3, "fields: {output: answer}", ("data/test.jsonl:1", "field 'answer' is missing")),
    ("metric-that-is-none", GOOD * 3, "metric: rouge", "metric 'rouge' unknown"),
    ("comet-missing", GOOD * 3, "metric: comet", ("comet needs an extra", "pip install")),
    ("direction", GOOD * 3, "higher_is_better: false", "higher_is_better of rouge_l is true, got false"),
    ("brace-open", GOOD * 3, "prompt: chat, template: '{instruction'", ("template has an unpaired brace", "written twice")),
    ("brace-close", GOOD * 3, "prompt: chat, template: 'a}b'", ("template has an unpaired brace", "written twice")),
    ("brace-name", GOOD * 3, "prompt: chat, template: '{question}'", "no value for {question}; valid: instruction, input"),
    ("brace-position", GOOD * 3, "prompt: chat, template: '{}'", "template has no value for {}"),
    ("brace-attribute", GOOD * 3, "prompt: chat, template: '{input.__class__}'", "no value for {input.__class__}"),
    ("brace-item", GOOD * 3, "prompt: chat, template: '{input[0]}'", "no value for {input[0]}"),
    ("brace-format", GOOD * 3, "prompt: chat, template: '{input:>{instruction}}'", "no value for {input:}"),
    ("template-alone", GOOD * 3, "template: '{input}'", "template goes with prompt=chat"),
    ("chat-alone", GOOD * 3, "prompt: chat", "template goes with prompt=chat"),
    ("chat-without-template", GOOD * 3, "prompt: chat, template: '{instruction}'", "has no chat template"),
    ("template-field-empty", GOOD * 3, "prompt: chat, template: '{input}'", "its template needs 'input'; record 1"),
    ("stop-empty", GOOD * 3, "stop: ['']", "stop must be non-empty texts"),
    ("source", GOOD * 3, "source: web", "evaluation set source 'web' unknown"),
    ("num-examples", GOOD * 3, "num_examples: 1", "num_examples must be at least 2, got 1"),
    ("surrogate", rb'{"instruction": "\ud800", "output": "b"}' b"\n" * 3, "", r"data/test.jsonl:1: field 'instruction' holds \ud800"),
    ("unknown-key", GOOD * 3, "colour: red", "colour"),
    ("wrong-type", GOOD * 3, "max_new_tokens: many", "many"),
]

# (id, content of my_conf/divergence/mine.yaml, what must be said)
CONFIGURATION = [
    ("not-closed", "name: [kl\n", ("mine.yaml:", "no valid YAML")),
    ("tabs", "name: kl\n\torder: pr\n", ("mine.yaml:2", "no valid YAML")),
    ("colon", "name: kl: rp\n", ("mine.yaml:1", "no valid YAML")),
    ("key-twice", "name: kl\nname: tv\n", ("mine.yaml", "duplicate key")),
    ("list", "- kl\n", "mine"),
    ("text", "kl\n", "mine"),
    ("alias", "name: *nowhere\n", ("mine.yaml:1", "undefined alias")),
    ("latin-1", "name: kl # caf\udce9\n", "UTF-8"),
    ("tag", "name: !!python/object/apply:os.system ['true']\n", "no valid YAML"),
    ("control-character", "name: kl\x00\n", "no valid YAML"),
    ("unknown-key", "name: kl\ncolour: red\n", "colour"),
    ("wrong-type", "name: kl\nversion: many\n", "many"),
    ("no-name", "order: pr\n", "divergence.name has no value"),
    ("unknown-name", "name: kll\n", "divergence 'kll' unknown"),
    ("defaults-nowhere", "defaults: [nowhere]\nname: kl\n", "Could not load 'divergence/nowhere'"),
    ("defaults-of-itself", "defaults: [mine]\nname: kl\n", "refers to itself without end"),
    ("interpolation", "name: ${nowhere}\n", "'nowhere' not found"),
]

# (id, content of hostile_ID.py, the function named, what must be said)
DIVERGENCES = [
    ("syntax", "def f(left, right)\n    return 1\n", "f", ("SyntaxError", "hostile_syntax.py:1")),
    ("import-raises", "raise OSError('no such driver')\n", "f", ("no such driver", "hostile_import_raises.py:1")),
    ("import-exits", "import sys\nsys.exit('no licence')\n", "f", ("sys.exit('no licence')", "hostile_import_exits.py:2")),
    ("import-of-nothing", "import nowhere_at_all\n", "f", ("cannot be imported", "nowhere_at_all")),
    ("no-such-function", "def g(left, right):\n    return left\n", "f", ("'f' unknown", "valid: g")),
    ("no-function", "f = 3\n", "f", "'f' unknown"),
    ("no-arguments", "def f():\n    return 0\n", "f", "does not accept the parameters"),
    ("exits", "import sys\ndef f(left, right):\n    sys.exit(4)\n", "f", ("sys.exit(4)", "hostile_exits.py:3")),
    ("raises", "def f(left, right):\n    raise KeyError('x')\n", "f", ("KeyError: 'x'", "hostile_raises.py:2")),
    ("divides-by-zero", "def f(left, right):\n    return left.sum(-1) * (1 / 0)\n", "f", "ZeroDivisionError"),
    ("endless", "def f(left, right):\n    return f(left, right)\n", "f", "RecursionError"),
    ("returns-number", "def f(left, right):\n    return 1.0\n", "f", ("must map [N, V] x2 to a tensor [N]", "1.0")),
    ("returns-all-tokens", "def f(left, right):\n    return left - right\n", "f", "must map [N, V] x2 to a tensor [N]"),
    ("returns-mean", "def f(left, right):\n    return (left - right).mean().reshape(1)\n", "f", ("[3, 5]", "tensor [1]")),
    ("no-gradient", "def f(left, right):\n    return (left.exp() * (left - right)).sum(-1).detach()\n", "f", "has no gradient"),
    ("no-gradient-to-student", "def f(left, right):\n    return left.exp().square().sum(-1)\n", "f", "no gradient to the student"),
    ("not-a-number", "def f(left, right):\n    return (left - right).sum(-1) * float('nan')\n", "f", "not finite"),
]
# fmt: on


def named(rows: list[tuple[object, ...]]) -> list[object]:
    ids = [row[0] for row in rows]
    assert len(set(ids)) == len(ids), "an id stands twice"
    return [pytest.param(*row[1:], id=str(row[0])) for row in rows]


def case(argv: tuple[str, ...], said: str | tuple[str, ...]) -> Case:
    return Case("", with_folders(argv), 2, (said,) if isinstance(said, str) else said)


@pytest.mark.parametrize(("content", "said"), named(RECORDS))
def test_bad_training_records_are_one_line(content: bytes, said: str, hostile: Hostile, folder: Path) -> None:
    (folder / "data" / "train.jsonl").write_bytes(content)
    hostile(case(RUN, said))


def test_bad_validation_records_are_one_line(hostile: Hostile, folder: Path) -> None:
    (folder / "data" / "dev.jsonl").write_bytes(GOOD + b"{}\n")
    hostile(case(("run.py", "-m", *RUN[1:], "amid.alpha=-1,0"), "data/dev.jsonl:2: field 'instruction' is missing"))


@pytest.mark.parametrize("name", ["train", "dev", "test"])
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_data_file_that_is_none_is_one_line(name: str, kind: str, hostile: Hostile, folder: Path) -> None:
    path = folder / "data" / f"{name}.jsonl"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    hostile(case(RUN, ("no file", f"{name}.jsonl")))


@pytest.mark.parametrize(("content", "options", "said"), named(ANSWERS))
def test_bad_answers_to_score_are_one_line(
    content: bytes, options: str, said: str, hostile: Hostile, folder: Path
) -> None:
    (folder / "data" / "answers.jsonl").write_bytes(content)
    hostile(case(("amid", "score", "data/answers.jsonl", *options.split()), said))


@pytest.mark.parametrize(("content", "declared", "said"), named(SETS))
def test_a_bad_evaluation_set_is_one_line(
    content: bytes, declared: str, said: str, hostile: Hostile, folder: Path
) -> None:
    (folder / "data" / "test.jsonl").write_bytes(content)
    (folder / "my_conf" / "evaluation").mkdir(parents=True)
    more = f", {declared}" if declared else ""
    (folder / "my_conf" / "evaluation" / "mine.yaml").write_text(f"sets:\n  test: {{files: [test.jsonl]{more}}}\n")
    hostile(case((RUN[0], "--config-dir", "my_conf", *RUN[1:], "evaluation=mine"), said))


@pytest.mark.parametrize(("content", "said"), named(CONFIGURATION))
def test_bad_configuration_is_one_line(content: str, said: str, hostile: Hostile, folder: Path) -> None:
    (folder / "my_conf" / "divergence").mkdir(parents=True)
    path = folder / "my_conf" / "divergence" / "mine.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    hostile(case(("run.py", "--config-dir", "my_conf", "divergence=mine"), said))


@pytest.mark.parametrize(
    ("name", "content", "function", "said"),
    named([(row[0], *row) for row in DIVERGENCES]),  # the id names the module
)
def test_a_bad_divergence_is_one_line(
    name: str, content: str, function: str, said: str, hostile: Hostile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"hostile_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(content)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    argv = ("run.py", "divergence=kl", "data.num_train=40", f'divergence.function="{module}:{function}"')
    hostile(case(argv, said))


def test_every_table_is_read(folder: Path) -> None:
    assert min(map(len, (RECORDS, ANSWERS, SETS, CONFIGURATION, DIVERGENCES))) > 15
    assert cases([]) == []
