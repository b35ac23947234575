"""Tokenizers and chat templates of several styles, ours and wrong ones, for tests of conversations."""

from __future__ import annotations

import copy

from folders import small_tokenizer
from transformers import PreTrainedTokenizerBase

from amid.data.chat_templates import template_text

SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end|>", "<bos>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
)
EOS = "<|endoftext|>"
STYLES = ("chatml", "gemma", "llama3", "mistral", "plain")
# What a template of the style writes after an answer, as far as it is learnt
ENDS = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>", "llama3": "<|eot_id|>", "mistral": EOS, "plain": EOS}
TRIMS = ("gemma", "llama3", "mistral")

# Written as Phi-3's: a finished text ends with EOS, an unfinished one with the prompt of the next answer
PHI = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ eos_token }}{% endif %}"
)
# Written as Qwen3's: only the last answer keeps room for a thought
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Written as later ones of Mistral: the system message stands before the last question
SYSTEM_LAST = (
    "{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% set last = (messages | selectattr('role', 'equalto', 'user') | list)[-1] %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST]' + (system + '\n\n' if system and m is sameas last else '') + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] + eos_token }}{% endfor %}"
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{{ 'assistant: ' if add_generation_prompt }}"
)
OTHER_END = NO_END.replace("'\n'", "' <stop>'")
NO_PROMPT = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + m['content'] + '<|im_end|>' }}{% endfor %}"
SILENT = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] + eos_token }}{% endfor %}"
SHOUTS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | upper + eos_token }}{% endfor %}"
    "{{ 'assistant: ' if add_generation_prompt }}"
)


def chat_tokenizer(template: str | None = None) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer with the tokens of all styles; template: one of STYLES, or a template's text."""
    tokenizer = copy.deepcopy(small_tokenizer())
    tokenizer.add_special_tokens({"bos_token": "<bos>", "additional_special_tokens": list(SPECIAL)})
    if template is not None:
        tokenizer.chat_template = template_text(template, key="test") if template in STYLES else template
    return tokenizer
