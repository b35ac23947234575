# %% [markdown]
# # Adding a divergence
#
# AMiD is a family: any divergence $D$ can compare the teacher $p$ with the assistant $r$. Suppose that yours is not
# among those that `python run.py --help` lists. This notebook adds one, Rényi's,
#
# $$ D_a(s \,\|\, t) = \frac{1}{a-1}\, \log \sum_v s_v^{\,a}\, t_v^{\,1-a}, $$
#
# convinces itself that it is right, and hands it to a training. Nothing in the package is changed: a divergence is
# one function in a file of yours, and its name reads `module:function`.

# %%
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from amid import AmidLoss
from amid.config import config_root
from amid.core import ab, bind_divergence, kl, to_log_prob

folder = Path(tempfile.mkdtemp(prefix="amid-divergence-"))

# %% [markdown]
# ## The function
#
# It takes two tensors of log-probabilities, `[..., V]`, and returns one value for each distribution, `[...]`. Its own
# parameters come after the star. Work in log space: $s^a t^{1-a}$ summed over a vocabulary of 50,000 underflows, its
# `logsumexp` does not.

# %%
(folder / "my_divergences.py").write_text('''
import torch
from torch import Tensor


def renyi(log_left: Tensor, log_right: Tensor, *, renyi_order: float) -> Tensor:
    """Renyi divergence of the given order: log(sum left^a right^(1-a)) / (a - 1)."""
    mixed = renyi_order * log_left + (1.0 - renyi_order) * log_right
    return torch.logsumexp(mixed, dim=-1) / (renyi_order - 1.0)
''')
sys.path.insert(0, str(folder))
from my_divergences import renyi  # noqa: E402

# %% [markdown]
# ## Is it right?
#
# Four questions that a wrong divergence rarely survives. It must be 0 for equal arguments and positive for others. It
# must have the limit that theory says: KL at $a \to 1$. It must agree with something independent: at $a = 1/2$ it is
# $-2 \log$ of the Bhattacharyya coefficient $\sum \sqrt{s t}$. And its gradient must be finite, at distributions as
# far apart as those of real models, too. The order of the arguments deserves a look of its own: left is what the
# expectation is taken over, as in $\mathrm{KL}(p \,\|\, q) = \sum p \log (p/q)$, and a swap is the mistake that a
# loss curve does not show.

# %%
random = torch.Generator().manual_seed(0)
log_s, log_t = (to_log_prob(2 * torch.randn(64, 1000, generator=random), vocab_size=1000) for _ in range(2))
half = bind_divergence(renyi, params={"renyi_order": 0.5})

assert half(log_s, log_s).abs().max() < 1e-5
assert half(log_s, log_t).min() > 0
near_kl = bind_divergence(renyi, params={"renyi_order": 0.999})
torch.testing.assert_close(near_kl(log_s, log_t), kl(log_s, log_t), rtol=1e-2, atol=0)
assert not torch.allclose(near_kl(log_s, log_t), kl(log_t, log_s), rtol=1e-2), "left and right are not swapped"
coefficient = (log_s.exp() * log_t.exp()).sqrt().sum(-1)
torch.testing.assert_close(half(log_s, log_t), -2 * coefficient.log())

far_apart = to_log_prob(40 * torch.randn(8, 1000, generator=random), vocab_size=1000).requires_grad_()
half(log_s[:8], far_apart).sum().backward()
assert far_apart.grad.isfinite().all()

# %% [markdown]
# A picture says whether it behaves: here along a line of logits from one distribution to another, beside KL and the
# α-β divergence that the paper uses by default.

# %%
start, end = 3 * torch.randn(2, 50, generator=random)
path = torch.linspace(0, 1, 51)[:, None]
log_path = to_log_prob((1 - path) * start + path * end, vocab_size=50)
log_end = to_log_prob(end, vocab_size=50).expand_as(log_path)

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for order in (0.25, 0.5, 0.9):
    axis.plot(path, renyi(log_end, log_path, renyi_order=order), label=f"Rényi, a = {order}")
axis.plot(path, kl(log_end, log_path), "k--", label="KL")
axis.plot(path, ab(log_end, log_path, ab_alpha=0.2, ab_beta=0.7), "k:", label="AB(0.2, 0.7)")
axis.set(xlabel="from start to end", ylabel="D(end || here)", ylim=(0, None))
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## In a loop of your own
#
# `AmidLoss` takes the function itself. A teacher without gradient, a student with one, labels that say which
# positions count:

# %%
loss = AmidLoss(divergence=renyi, divergence_params={"renyi_order": 0.5}, alpha=-3.0, lam=0.1)
teacher_logits = torch.randn(2, 5, 100, generator=random)
student_logits = torch.randn(2, 5, 100, generator=random).requires_grad_()
labels = torch.tensor([[-100, -100, 7, 8, 9], [-100, 3, 4, -100, -100]])
value = loss(student_logits, teacher_logits, labels)
value.backward()
assert math.isfinite(value.item())
value.item()

# %% [markdown]
# ## In an experiment
#
# A YAML file in a folder of yours makes it a choice on the command line. `version` is a part of the identity of every
# cell that uses it: raise it when the function's values change, so that old results are not taken for new ones.

# %%
(folder / "my_conf" / "divergence").mkdir(parents=True)
(folder / "my_conf" / "divergence" / "renyi.yaml").write_text("""
name: renyi
function: my_divergences:renyi
version: 1
order: pr
params:
  renyi_order: 0.5
""")
command = [
    *(sys.executable, config_root() / "run.py", "--config-dir", folder / "my_conf", "experiment=quick"),
    *("divergence=renyi", "amid.alpha=-1", "logger=none", f"paths.results={folder / 'results'}"),
]
environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
ran = subprocess.run(command, env=environment, capture_output=True, text=True)
assert ran.returncode == 0, ran.stdout + ran.stderr
print(ran.stdout)

# %% [markdown]
# Before anything ran, the function was tried on a few distributions: a wrong parameter, another shape, a value or
# gradient that is not finite would have been one line and no training. It went through the fused path of the loss
# like those that are built in, its gradient taken by autograd in a chunk of tokens at a time.
#
# **Next:** [divergences](../docs/divergences.md) says how to declare a closed form, which makes it as fast as KL, and
# `amid certify` checks the built-in ones against an oracle in float64. [reading_a_sweep](reading_a_sweep.ipynb)
# compares results.
