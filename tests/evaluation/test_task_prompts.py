"""A task is trained as it is evaluated: the same record is the same token ids, in data=TASK and evaluation=TASK."""

import copy
import json

import pytest
from tokenizers.processors import TemplateProcessing

from amid.data.evaluation_sets import evaluation_sets
from amid.data.prompt import asking_of
from amid.data.records import Record
from amid.data.splits import training_records
from amid.data.tokenise import tokenise_records
from amid.errors import RequestError
from amid.evaluation.prompts import prompt_ids
from amid.evaluation.protocol import set_protocols
from amid.sweep.compose import run_of_overrides

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model> {% endif %}"
)
ROWS = {
    "gsm8k": {"instruction": "How much is 2 + {3}?", "output": "It is <<2+3=5>>5.\n#### 5"},
    "dialogsum": {"instruction": "Summarize.", "input": "#A#: yes\n#B#: no", "output": "They disagree."},
    "flores200": {"eng_Latn": "The cat sat.", "deu_Latn": "Die Katze sass.", "isl_Latn": "Kötturinn sat."},
}


@pytest.fixture
def chat_tokenizer(tokenizer):
    """A tokenizer whose template begins with a BOS, and that would put another before every text by itself."""
    chat = copy.deepcopy(tokenizer)
    chat.bos_token = chat.eos_token
    chat.chat_template = TEMPLATE
    bos = (chat.bos_token, chat.bos_token_id)
    chat.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    return chat


@pytest.fixture
def task(tmp_path):
    """The configuration of a task whose files all hold the same records."""

    def task(name, *overrides):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for part in ("train", "dev", "test", "devtest"):
            (folder / f"{part}.jsonl").write_text(4 * (json.dumps(ROWS[name]) + "\n"))
        given = (f"data={name}", f"data.root={folder}", "data.num_dev=2")
        return run_of_overrides([*given, f"paths.results={tmp_path}/r", f"paths.cache={tmp_path}/c", *overrides])

    return task


def examples_of(data, tokenizer):
    limits = {"max_prompt_tokens": data.max_prompt_tokens, "max_tokens": data.max_tokens}
    return tokenise_records(
        training_records(data)[0], tokenizer, truncate_prompt=False, asking=asking_of(data), **limits
    )


@pytest.mark.parametrize("name", ROWS)
def test_a_training_prompt_has_the_token_ids_of_the_evaluation_prompt(task, chat_tokenizer, name):
    run = task(name)
    protocol = set_protocols(run.data, run.evaluation)[name]
    asked = prompt_ids(chat_tokenizer, protocol, set_name=name)[0]
    (example, *_) = examples_of(run.data, chat_tokenizer)
    assert list(example.prompt_ids) == asked
    assert asked.count(chat_tokenizer.bos_token_id) == 1 and asked[0] == chat_tokenizer.bos_token_id
    target = ROWS[name]["deu_Latn" if name == "flores200" else "output"]
    assert chat_tokenizer.decode(example.response_ids) == f"{target}{chat_tokenizer.eos_token}"
    assert evaluation_sets(run.data, run.evaluation)[name].references[0] == example.references == (target,)


@pytest.mark.parametrize("name", ROWS)
def test_a_task_says_in_its_data_what_it_says_in_its_evaluation(task, name):
    run = task(name)
    data, declared = run.data, run.evaluation.sets[name]
    assert (data.prompt, data.template, data.labels, data.stop) == (
        declared.prompt,
        declared.template,
        declared.labels,
        declared.stop,
    )
    assert data.max_prompt_tokens == declared.max_prompt_tokens
    assert data.max_tokens == declared.max_prompt_tokens + declared.max_new_tokens


def test_another_pair_of_languages_is_named_once_for_training_and_evaluation(task):
    sets = "evaluation.sets.flores200"
    run = task("flores200", f"{sets}.fields.output=isl_Latn", f"{sets}.labels.target=Icelandic", f"{sets}.sha256=null")
    (record, *_), _ = training_records(run.data)
    assert record.outputs == ("Kötturinn sat.",)
    assert "into Icelandic" in asking_of(run.data).text(record)
    assert evaluation_sets(run.data, run.evaluation)["flores200"].references[0] == record.outputs
    assert task("flores200", "evaluation=gsm8k").data.fields["output"] == "deu_Latn", "without the set, the default"


def test_data_in_chat_form_say_to_a_tokenizer_without_a_template_what_to_do(task, tokenizer):
    with pytest.raises(RequestError, match=r"^data asks in chat form, .* set data.prompt=alpaca data.template=null$"):
        examples_of(task("gsm8k").data, tokenizer)


def test_a_template_that_refuses_is_one_line(task, chat_tokenizer):
    chat_tokenizer.chat_template = "{{ raise_exception('no user may speak') }}"
    with pytest.raises(RequestError, match="data: the model's chat template cannot render .*no user may speak"):
        examples_of(task("gsm8k").data, chat_tokenizer)


def test_without_a_template_a_training_prompt_is_the_one_of_the_field(tokenizer):
    from amid.data.prompt import Asking, render_prompt

    record = Record("1", "Say 7.", "", ("7",))
    assert Asking().text(record) == render_prompt(record)
