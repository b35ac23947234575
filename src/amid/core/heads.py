"""Output heads as data: what turns hidden states into logits.

Legend: N tokens; V head width; H hidden size; R rank.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Rows of a weight taken at a time: the scratch is [WEIGHT_ROWS, n], plus [WEIGHT_ROWS, H] where they are cast.
# On a CPU 2048 rows of a chunk's logits (1.5 MB) are still in cache when they are turned around.
WEIGHT_ROWS = 2048


@dataclass(frozen=True)
class LowRank:
    """A low-rank addition scale * up @ down to a head's weight; down [R, H], up [V, R]."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.down.dim() != 2 or self.up.dim() != 2 or self.down.shape[0] != self.up.shape[1]:
            raise ValueError(
                f"low-rank factors must be down [R, H] and up [V, R], got {tuple(self.down.shape)} and "
                f"{tuple(self.up.shape)}"
            )


@dataclass(frozen=True)
class Head:
    """An output head: logits = cap( scale * ( hidden (weight + lora)^T + bias ) ), cap(x) = softcap tanh(x / softcap).

    weight [V, H]; bias [V] or None; scale: factor of the logits; softcap: bound of the logits or None for no cap.
    Parts that do not require a gradient cost none.
    Raises ValueError if shapes do not fit, scale is not finite and non-zero, or softcap is not above 0.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    lora: LowRank | None = None

    def __post_init__(self) -> None:
        if self.weight.dim() != 2:
            raise ValueError(f"a head's weight must be [V, H], got {tuple(self.weight.shape)}")
        width, size = self.weight.shape
        if self.bias is not None and self.bias.shape != (width,):
            raise ValueError(f"a head's bias must have shape ({width},), got {tuple(self.bias.shape)}")
        if not (math.isfinite(self.scale) and self.scale != 0.0):
            raise ValueError(f"a head's scale must be finite and not 0, got {self.scale}")
        if self.softcap is not None and not (math.isfinite(self.softcap) and self.softcap > 0.0):
            raise ValueError(f"a head's softcap must be finite and above 0, or None, got {self.softcap}")
        if self.lora is not None and (self.lora.up.shape[0] != width or self.lora.down.shape[1] != size):
            raise ValueError(
                f"low-rank factors of a [{width}, {size}] head must be down [R, {size}] and up [{width}, R], got "
                f"{tuple(self.lora.down.shape)} and {tuple(self.lora.up.shape)}"
            )

    @property
    def width(self) -> int:
        """Number of tokens the head scores, padded rows included."""
        return self.weight.shape[0]

    @property
    def hidden_size(self) -> int:
        """Size of the hidden states the head reads."""
        return self.weight.shape[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden [..., H] in float32 arithmetic, differentiable: the definition of the head."""
        with torch.autocast(device_type=hidden.device.type, enabled=False):
            states = hidden.float()
            scores = states @ self.weight.float().t()
            if self.lora is not None:
                scores = scores + self.lora.scale * (states @ self.lora.down.float().t() @ self.lora.up.float().t())
            if self.bias is not None:
                scores = scores + self.bias.float()
            scores = scores * self.scale
            return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)

    def rounded_to(self, dtype: torch.dtype) -> "Head":
        """The head, detached, with its parts rounded to dtype, as autocast reads them."""

        def rounded(part: Tensor) -> Tensor:
            return part.detach().to(dtype)

        lora = None if self.lora is None else LowRank(rounded(self.lora.down), rounded(self.lora.up), self.lora.scale)
        bias = None if self.bias is None else rounded(self.bias)
        return replace(self, weight=rounded(self.weight), bias=bias, lora=lora)


def native_dtype(head: Head) -> torch.dtype:
    """The dtype that the logits of the model's own head have here: autocast's where it is on, else the weight's."""
    weight = head.weight
    if torch.is_autocast_enabled(weight.device.type) and weight.dtype != torch.float64:  # which autocast leaves alone
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def project_into(out: Tensor, hidden: Tensor, head: Head) -> None:
    """Writes the head's first V' logits of hidden into out, in place, without a graph.

    Shapes: hidden [n, H], float32; out [n, V'] float32 with V' at most the head's width.
    """
    vocab_size = out.shape[1]
    weight = head.weight.detach()[:vocab_size]
    if weight.dtype == torch.float32 and weight.device.type != "cpu":
        torch.mm(hidden, weight.t(), out=out)
    else:
        # On a CPU the product is up to 1.9 x faster as weight @ hidden^T, turned around while its rows are in cache.
        turned = hidden.t().contiguous()
        scratch = torch.empty(min(WEIGHT_ROWS, vocab_size), hidden.shape[0], device=out.device)
        for start in range(0, vocab_size, WEIGHT_ROWS):
            rows = weight[start : start + WEIGHT_ROWS].float()
            product = torch.mm(rows, turned, out=scratch[: rows.shape[0]])
            out[:, start : start + WEIGHT_ROWS] = product.t()
    if head.lora is not None:
        low = hidden @ head.lora.down.detach().float().t()
        out.addmm_(low, head.lora.up.detach()[:vocab_size].float().t(), alpha=head.lora.scale)
    if head.bias is not None:
        out.add_(head.bias.detach()[:vocab_size].float())
    if head.scale != 1.0:
        out.mul_(head.scale)
    if head.softcap is not None:
        out.div_(head.softcap).tanh_().mul_(head.softcap)


@dataclass
class HeadGradients:
    """Float32 gradients of a head's parts and of its hidden states, summed over chunks; None where not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    down: Tensor | None
    up: Tensor | None


def empty_gradients(hidden: Tensor, head: Head, *, vocab_size: int) -> HeadGradients:
    """Gradients to be filled by `backproject` for everything that requires one: zero, except the weight's first rows.

    The weight's first vocab_size rows are left as they are where the first chunk will overwrite them: clearing them
    would cost a pass over the largest tensor there is.
    """

    def zeros(part: Tensor | None) -> Tensor | None:
        wanted = part is not None and part.requires_grad
        return torch.zeros(part.shape, dtype=torch.float32, device=part.device) if part is not None and wanted else None

    weight = None
    if head.weight.requires_grad:
        weight = torch.empty(head.weight.shape, dtype=torch.float32, device=head.weight.device)
        weight[vocab_size if hidden.shape[0] else 0 :].zero_()
    lora = head.lora
    return HeadGradients(
        hidden=zeros(hidden),
        weight=weight,
        bias=zeros(head.bias),
        down=zeros(None if lora is None else lora.down),
        up=zeros(None if lora is None else lora.up),
    )


def backproject(
    gradients: HeadGradients, grad_scores: Tensor, hidden: Tensor, head: Head, *, start: int, token_factors: Tensor
) -> None:
    """Adds one chunk's share to every wanted gradient.

    Shapes: grad_scores [n, V'] float32, gradient of hidden weight^T + bias up to a factor per token; token_factors [n],
    those factors (applied to the small [n, H] side, not to the logits); hidden [n, H] float32.
    start: the chunk's first token. The first chunk overwrites, so that nothing needs to be read back.
    """
    num_tokens, vocab_size = grad_scores.shape
    factors = token_factors.unsqueeze(1)
    scaled_hidden = hidden * factors
    weight = head.weight.detach()[:vocab_size]
    grad_hidden = None if gradients.hidden is None else gradients.hidden[start : start + num_tokens]
    if grad_hidden is not None:
        if weight.dtype == torch.float32:
            torch.mm(grad_scores, weight, out=grad_hidden)
        else:
            for first in range(0, vocab_size, WEIGHT_ROWS):
                rows = weight[first : first + WEIGHT_ROWS].float()
                grad_hidden.addmm_(grad_scores[:, first : first + WEIGHT_ROWS], rows)
        grad_hidden.mul_(factors)
    if gradients.weight is not None:
        gradients.weight[:vocab_size].addmm_(grad_scores.t(), scaled_hidden, beta=0 if start == 0 else 1)
    if gradients.bias is not None:
        gradients.bias[:vocab_size].addmv_(grad_scores.t(), token_factors)
    if head.lora is not None:
        down, up = head.lora.down.detach().float(), head.lora.up.detach()[:vocab_size].float()
        grad_low = head.lora.scale * (grad_scores @ up) * factors
        if grad_hidden is not None:
            grad_hidden.addmm_(grad_low, down)
        if gradients.down is not None:
            gradients.down.addmm_(grad_low.t(), hidden)
        if gradients.up is not None:
            gradients.up[:vocab_size].addmm_(grad_scores.t(), scaled_hidden @ down.t(), alpha=head.lora.scale)
