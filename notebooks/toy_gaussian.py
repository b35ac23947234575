# %% [markdown]
# # Fitting one bell curve to two
#
# What does the choice of α lead to, once training has ended? The smallest experiment that shows it: the teacher $p$
# is a mixture of two normal distributions, the student $q$ a single one. No $q$ can be right, so it must choose: sit
# on one peak (*mode seeking*) or stretch over both (*mode covering*). Language models make the same choice with every
# sentence, between saying one good thing and saying something of everything.
#
# This is the toy experiment behind the paper's Figure 2c: $p = 0.7\,N(-3, 2) + 0.3\,N(3, 0.8)$ with variances 2 and
# 0.8, $q$ starts at $N(0, 1)$, and Adam minimises $\mathrm{KL}(p \,\|\, r)$, where $r$ is the α-mixture of $p$ and
# $q$. The paper leaves λ open; we take 0.1, as in its tables. It updates $\sigma^2$ where we update $\log\sigma$.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from amid.core import alpha_mixture, kl, to_log_prob

x = torch.linspace(-12, 12, 601)


def log_normal(mean, deviation):
    """Log-probability of a normal distribution in each cell of the grid."""
    return to_log_prob(-0.5 * ((x - mean) / deviation) ** 2, vocab_size=len(x))


two_peaks = torch.stack(
    [log_normal(-3.0, 2.0**0.5) + torch.tensor(0.7).log(), log_normal(3.0, 0.8**0.5) + torch.tensor(0.3).log()]
)
log_p = to_log_prob(two_peaks.logsumexp(0), vocab_size=len(x))

# %% [markdown]
# ## The fit
#
# Nothing below is special to a toy: a training step of a language model does the same at each position of a text,
# with the vocabulary in place of the grid. Gradients flow through $r$ into $q$, because $r$ contains $q$.


# %%
def fit(alpha, divergence, *, lam=0.1, steps=500):
    """Mean, standard deviation and log-probabilities of the student after training."""
    mean, log_deviation = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    adam = torch.optim.Adam([mean, log_deviation], lr=5e-2)
    for _ in range(steps):
        log_q = log_normal(mean, log_deviation.exp())
        log_r = alpha_mixture(log_p, log_q, alpha=alpha, lam=lam)
        adam.zero_grad()
        divergence(log_p, log_r).backward()
        adam.step()
    return mean.item(), log_deviation.exp().item(), log_q.detach()


alphas = [-5.0, -3.0, -1.0, 1.0, 3.0]
fits = {alpha: fit(alpha, kl) for alpha in alphas}

# %%
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
axis.fill_between(x, log_p.exp(), color="lightgray", label="teacher p")
for (alpha, (_, _, log_q)), shade in zip(fits.items(), torch.linspace(0.1, 0.9, len(fits)).tolist(), strict=True):
    axis.plot(x, log_q.exp(), color=plt.cm.viridis(shade), label=f"q, α = {alpha:g}")
axis.set(xlabel="x", yticks=[], title="minimising KL(p || r), λ = 0.1")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# Small α locks the student onto the larger peak; from α = -1 on it covers both, with tails that become thicker as α
# grows. The reason is in [alpha_mixture](alpha_mixture.ipynb): at α = -5 the assistant is large wherever *one* of the
# two models is, so the second peak is in $r$ already, thanks to the teacher's tenth, and the student need not go
# there.
#
# In numbers: mean and standard deviation of each student, and how much of its probability lies in the valley between
# the peaks, where the teacher has little.

# %%
valley = (x > 0) & (x < 1.5)
rows = [
    {"α": alpha, "mean": mean, "deviation": deviation, "in the valley": log_q[valley].exp().sum().item()}
    for alpha, (mean, deviation, log_q) in fits.items()
]
pd.DataFrame(rows).set_index("α").round(3)

# %% [markdown]
# ## What is left to choose
#
# λ plays along: with more of the teacher in $r$, less is left for the student to do, and more values of α seek one
# peak.

# %%
by_lam = {lam: [fit(alpha, kl, lam=lam, steps=300)[1] for alpha in (-5.0, -1.0, 1.0)] for lam in (0.1, 0.5)}
pd.DataFrame(by_lam, index=[-5.0, -1.0, 1.0]).rename_axis("α").rename_axis("deviation at λ", axis=1).round(2)

# %% [markdown]
# **Try:** another divergence (`from amid.core import jeffreys, js, tv` and `fit(1.0, js)`), or the other order, $D(q,
# r)$. [Divergences](../docs/divergences.md) has the list, and [adding_a_divergence](adding_a_divergence.ipynb) shows
# how to write one.
