# %% [markdown]
# # The α-mixture
#
# A large language model, the *teacher* $p$, shall teach a small one, the *student* $q$. At every position of a text
# both give a distribution over the same vocabulary, and distillation minimises a divergence between the two. Early in
# training they lie far apart: tokens that the teacher finds likely have almost no probability under the student. AMiD
# puts a third distribution between them, the *assistant* $r$, and compares with that:
#
# $$ r \propto \Bigl(\lambda\, p^{(1-\alpha)/2} + (1-\lambda)\, q^{(1-\alpha)/2}\Bigr)^{2/(1-\alpha)} $$
#
# $\lambda \in [0, 1]$ says how much of the teacher is in $r$, and $\alpha$, any real number, *how* the two are mixed.
# This notebook shows what $\alpha$ does. It needs nothing but `amid.core`, which works on small tensors as on large
# ones. Everything there takes *log*-probabilities, because on real vocabularies most probabilities are too small to
# be held.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from amid.core import alpha_mixture, kl, to_log_prob

# %% [markdown]
# ## Three tokens
#
# The teacher is sure of token *a*, the student of token *c*. We mix them half and half, at several α.

# %%
log_p = torch.log(torch.tensor([0.80, 0.19, 0.01]))
log_q = torch.log(torch.tensor([0.02, 0.28, 0.70]))
alphas = [-float("inf"), -5.0, -1.0, 0.0, 1.0, 3.0, float("inf")]
mixtures = {f"{alpha:g}": alpha_mixture(log_p, log_q, alpha=alpha, lam=0.5).exp().tolist() for alpha in alphas}
pd.DataFrame(mixtures, index=list("abc")).T.rename_axis("α").round(3)

# %% [markdown]
# Read the table from top to bottom. For small α, $r$ is large wherever *one* of the two is large: a token that the
# teacher alone believes in stays likely. For large α, $r$ is large only where *both* agree, and *b*, on which they
# agree moderately, takes over although neither of them prefers it. That is the geometry of the path from $q$ to $p$;
# a divergence only measures distances along it.
#
# ## Special cases
#
# Several well-known mixtures are values of α. The difference of each from its own formula:

# %%
p, q, lam = log_p.exp(), log_q.exp(), 0.3
known = {
    "α = -1, arithmetic mean (GKD, DistiLLM)": (-1.0, lam * p + (1 - lam) * q),
    "α = 1, geometric mean (TAID)": (1.0, p**lam * q ** (1 - lam)),
    "α = 3, harmonic mean": (3.0, 1 / (lam / p + (1 - lam) / q)),
    "α = -∞, maximum": (-float("inf"), torch.maximum(p, q)),
    "α = ∞, minimum": (float("inf"), torch.minimum(p, q)),
}
largest = {
    name: (alpha_mixture(log_p, log_q, alpha=alpha, lam=lam).exp() - mean / mean.sum()).abs().max().item()
    for name, (alpha, mean) in known.items()
}
pd.Series(largest, name="largest difference").to_frame()

# %% [markdown]
# ## Limits
#
# λ = 0 is the student and λ = 1 the teacher, exactly, whatever α is. At α = 1 the formula above divides by zero, but
# its limit is the geometric mean, and values close by must not jump: in float32 a naive power mean loses its digits
# there. The differences below are to be as small as the step in α, and no larger.

# %%
at_one = alpha_mixture(log_p, log_q, alpha=1.0, lam=lam)
near_one = [1e-1, 1e-3, 1e-5, 1e-7]
jumps = [(alpha_mixture(log_p, log_q, alpha=1 + step, lam=lam) - at_one).abs().max().item() for step in near_one]
assert torch.equal(alpha_mixture(log_p, log_q, alpha=-5.0, lam=0.0), log_q)
assert torch.equal(alpha_mixture(log_p, log_q, alpha=-5.0, lam=1.0), log_p)
pd.DataFrame({"α - 1": near_one, "change of log r": jumps}).map("{:.0e}".format)

# %% [markdown]
# ## Two bell curves
#
# The paper draws $r$ between $p = N(0, 0.5^2)$ and $q = N(3, 1)$ with λ = 0.3 (Figure 1). A density on a fine grid is
# a distribution over grid cells, so the same function does it.

# %%
x = torch.linspace(-3, 7, 501)
log_p_curve = to_log_prob(-0.5 * (x / 0.5) ** 2, vocab_size=len(x))
log_q_curve = to_log_prob(-0.5 * (x - 3.0) ** 2, vocab_size=len(x))

figure, axes = plt.subplots(1, 5, figsize=(14, 2.6), sharey=True, layout="constrained")
for axis, alpha in zip(axes, [-5.0, -1.0, 0.0, 1.0, 3.0], strict=True):
    log_r = alpha_mixture(log_p_curve, log_q_curve, alpha=alpha, lam=0.3)
    for log_curve, color, name in ((log_p_curve, "tab:blue", "p"), (log_q_curve, "tab:orange", "q")):
        axis.plot(x, log_curve.exp(), color=color, linewidth=1, label=name)
    axis.fill_between(x, log_r.exp(), color="tab:green", alpha=0.35, label="r")
    axis.set(title=f"α = {alpha:g}", yticks=[])
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# Up to α = 0 there are two peaks, one for each model; from α = 1 on there is one, in between, where neither has much
# to say.
#
# ## What the student feels
#
# Training follows the gradient. Here is that of $\mathrm{KL}(p \,\|\, r)$ with respect to the student's three logits,
# for λ = 0.1 as in most tables of the paper: what is pushed down is positive, what is pulled up negative.

# %%
grid = torch.linspace(-6, 6, 61).tolist()
gradients = []
for alpha in grid:
    logits = log_q.clone().requires_grad_()
    log_r = alpha_mixture(log_p, to_log_prob(logits, vocab_size=3), alpha=alpha, lam=0.1)
    kl(log_p, log_r).backward()
    gradients.append(logits.grad.tolist())

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for token, of_token in zip("abc", zip(*gradients, strict=True), strict=True):
    axis.plot(grid, of_token, label=f"{token}: p = {p['abc'.index(token)]:.2f}, q = {q['abc'.index(token)]:.2f}")
axis.axhline(0, color="gray", linewidth=0.5)
axis.set(xlabel="α", ylabel="gradient of KL(p || r)")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# For small α the assistant already holds what the teacher believes in, so the student is hardly asked to change. As α
# grows, $r$ comes to depend on the student's own opinion of *a*, and the student is pulled towards it, harder and
# harder. What pays for it changes, too: first *c*, the student's mistake, then *b*, which was right already. That is
# the knob: α says how much the student must cover what only the teacher sees.
#
# **Next:** [toy_gaussian](toy_gaussian.ipynb) follows this gradient to its end. `python run.py amid.alpha=-3` trains
# a language model with it.
