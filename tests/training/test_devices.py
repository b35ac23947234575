"""Devices: one meaning of trainer.accelerator, for training and evaluation."""

import pytest
import torch

from amid.training import devices
from amid.training.devices import device_of, slow_training


@pytest.fixture
def there(monkeypatch):
    def there(*kinds):
        monkeypatch.setattr(devices, "_is_there", lambda kind: kind in kinds)

    return there


@pytest.mark.parametrize(
    ("kinds", "accelerator", "device"),
    [
        (("cpu", "cuda"), "auto", "cuda"),
        (("cpu", "cuda"), "cpu", "cpu"),
        (("cpu", "mps"), "auto", "mps"),
        (("cpu", "mps"), "gpu", "mps"),
        (("cpu",), "auto", "cpu"),
    ],
)
def test_the_cpu_is_used_where_it_is_asked_for_and_else_the_best_there_is(there, kinds, accelerator, device):
    there(*kinds)
    assert device_of(accelerator) == torch.device(device)


def test_bfloat16_pays_on_a_cpu_only_with_matrix_units(monkeypatch):
    for supported in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda supported=supported: supported)
        said = slow_training("bf16-mixed", torch.device("cpu"))
        assert said is None if supported else "bf16-mixed is slower than 32-true" in said
        assert slow_training("32-true", torch.device("cpu")) is None
    assert slow_training("bf16-mixed", torch.device("cuda")) is None
