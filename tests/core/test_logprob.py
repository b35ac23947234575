import numpy as np
import pytest
import torch

from amid.core import to_log_prob
from tests.reference import oracle


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_log_prob_is_float32_and_exact_for_the_given_logits(dtype):
    z = (torch.randn(200, generator=torch.Generator().manual_seed(0)) * 5).to(dtype)
    log_p = to_log_prob(z, 200)
    assert log_p.dtype == torch.float32
    np.testing.assert_allclose(log_p.numpy(), np.log(oracle.softmax(z.double().numpy())), atol=3e-6)


def test_log_prob_stays_float32_under_autocast():
    z = torch.randn(4, 50)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = to_log_prob(z, 50)
    assert torch.equal(inside, to_log_prob(z, 50))


def test_entries_past_the_vocabulary_are_absent_not_padded():
    z = torch.randn(3, 12)
    torch.testing.assert_close(to_log_prob(z, 10), z[:, :10].log_softmax(-1))


def test_narrow_logits_are_refused():
    with pytest.raises(ValueError, match="logits hold 10 tokens, fewer than vocab_size 12"):
        to_log_prob(torch.randn(3, 10), 12)


def test_token_ids_are_refused():
    with pytest.raises(ValueError, match="must be floating point"):
        to_log_prob(torch.arange(10), 10)


def test_native_dtype_takes_the_softmax_in_bfloat16():
    z = (torch.randn(200, generator=torch.Generator().manual_seed(0)) * 5).bfloat16()
    native = to_log_prob(z, 200, native_dtype=True)
    assert native.dtype == torch.float32
    # errors of a few 1e-2 near log q = -10.
    assert 1e-3 < (native - to_log_prob(z, 200)).abs().max().item() < 0.2
