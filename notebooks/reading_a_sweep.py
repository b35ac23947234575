# %% [markdown]
# # Reading a sweep
#
# A *cell* is one distillation: a pair of teacher and student, an assistant, a divergence, data, a seed. A *sweep* is
# a set of cells. Everything that a sweep produces lies in one folder, and all that one asks of it afterwards (which α
# is best, is that more than luck, what did the models write) is a view of that folder. The commands `amid table`,
# `amid best`, `amid compare` give these views in a terminal; the same functions serve a notebook.
#
# To have something to read we make a sweep first: the pair that is embedded in the package, made tiny, at two values
# of α with two training seeds each. It takes half a minute and shows how reading goes, not what AMiD achieves. If you
# have results already, set `RESULTS` to your folder and `SWEEP` to a name that `amid sweeps` lists, and leave out the
# next cell.

# %%
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown

import amid
from amid.config import config_root
from amid.reports.best import best_lines
from amid.reports.comparison import compare, render_comparison
from amid.reports.costs import cost_rows
from amid.reports.curves import series
from amid.reports.tables import build_table, render
from amid.store import Store

RESULTS, SWEEP = tempfile.mkdtemp(prefix="amid-results-"), "first_look"

# %%
tiny = """
data.num_records=600 data.num_dev=16 data.num_eval=16 pair.tokenizer_vocab_size=600
pair.teacher_arch={layers:2,width:64,heads:4,positions:256,init_std:0.05}
pair.student_arch={layers:1,width:32,heads:4,positions:256,init_std:0.05}
pair.teacher_sft={epochs:4,max_steps:100,warmup_steps:10,lr:6e-3,validation:{rounds:1,num_examples:16,max_new_tokens:32}}
pair.student_sft={epochs:1,max_steps:20,warmup_steps:5,validation:{rounds:1}}
train.max_steps=40 train.warmup_steps=5 train.validation={rounds:4,num_examples:16,max_new_tokens:32}
evaluation.decode_seeds=[10,20] evaluation.max_new_tokens=32
"""
places = [f"sweep.name={SWEEP}", f"paths.results={RESULTS}", f"paths.cache={RESULTS}/cache", "logger=none"]
command = [sys.executable, config_root() / "run.py", "-m", "amid.alpha=-3,1", "seed=10,11", *tiny.split(), *places]
ran = subprocess.run(command, capture_output=True, text=True)
assert ran.returncode == 0, ran.stdout + ran.stderr

# %% [markdown]
# Had it been stopped in between, the same command would have gone on where it was; run once more it finds nothing to
# do.
#
# ## The table
#
# Teacher and initial student come first: the room between the two is what distillation can win. Training seeds are
# averaged, and their spread stands apart (`seeds ±`), because it answers another question than the spread over
# sampled answers (`±`). Bold is what is best or cannot be told from it; the note below says by which test.

# %%
store = Store(RESULTS)
sweep = store.read_sweep(SWEEP)
Markdown(render(build_table(sweep, store), "markdown"))

# %% [markdown]
# ## Which is best?
#
# The best row is chosen by *validation*, never by the test sets: who picks the best of many by its test score reports
# luck. Which rows cannot be told from it is asked prompt by prompt, since two models answer the same prompts. Here
# validation has sixteen prompts and chooses nearly by chance, so do not wonder if it names another row than the table
# prints in bold: a real sweep needs more of them (`train.validation.num_examples`).

# %%
print("\n".join(best_lines(sweep, store)))

# %% [markdown]
# ## The scores themselves
#
# `amid.results` is every single score as a DataFrame, for whatever you want to compute yourself. Here: how the models
# do on each set.

# %%
scores = amid.results(SWEEP, results=RESULTS)
rouge = scores[(scores.metric == "rouge_l") & (scores.eval_set != "validation")]
models = rouge.kind.replace({"student_init": "initial student"}).where(
    rouge.kind != "cell", "α = " + rouge["amid.alpha"].astype(str)
)
means = rouge.assign(model=models).pivot_table(index="eval_set", columns="model", values="value")
axis = means.plot.bar(figsize=(9, 3), rot=0, ylabel="ROUGE-L", xlabel="")
axis.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Curves
#
# The journal of a cell holds what was measured while it trained. Look at the validation curve before you believe a
# table: one that still climbs was stopped too early, one that falls was saved by the choice of the best weights. The
# training loss of two values of α must not be compared: it is another function for each.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for cell in sweep["cells"]:
    label = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in cell["labels"].items())
    for axis, measure in zip(axes, ("val/loss", "val/rouge_l"), strict=True):
        points = series(store.layout.folder_of("cell", cell["id"]), measure)
        axis.plot(*zip(*points, strict=True), marker="o", label=label)
        axis.set(xlabel="step", ylabel=measure)
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## Two cells side by side
#
# A difference of means says little without its interval, and nothing about *how* two models differ. `compare` gives
# both: the difference on each set with a 95 % interval over prompts, and the answers that differ most.

# %%
first, last = sweep["cells"][0]["id"], sweep["cells"][-1]["id"]
sides = store.find_entry(first), store.find_entry(last)
print(render_comparison(compare(store, *sides, top=2, set_name="in_distribution"), (first, last)))

# %% [markdown]
# (The answers of models that have seen some hundred sentences.) `amid show ID` prints one cell in full.
#
# ## What it cost
#
# Two strategies are compared fairly at equal cost. What is recorded of each cell, in tokens, calls, seconds and MB:

# %%
pd.DataFrame([{**row.labels, **row.values} for row in cost_rows(sweep, store)]).T

# %% [markdown]
# **Next:** [Reading a table](../docs/tables.md) has the statistics, [Finding one's way](../docs/finding.md) the
# commands, and [W&B](../docs/wandb.md) shows the same numbers in a browser. A real sweep is one line in a terminal:
# `python run.py -m sweeps=table3 pair=tiny data=toy`.
