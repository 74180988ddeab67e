"""What `auto` comes to, for the device and for the precision."""

from __future__ import annotations

import pytest
import torch

from sctd.errors import UserError
from sctd.train import device
from sctd.train.device import choose_device, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("ratio", "wanted"), [(3.0, "bf16"), (1.6, "bf16"), (1.4, "fp32"), (0.6, "fp32")])
def test_a_cpu_gets_bf16_where_its_products_take_much_less_time(
    monkeypatch: pytest.MonkeyPatch, ratio: float, wanted: str
) -> None:
    # a clock by which a float32 product takes `ratio` seconds and a bf16 one 1
    ticks: list[float] = []

    def clock() -> float:
        kind, end = divmod(len(ticks), 2)
        ticks.append((ticks[-1] if ticks else 0.0) + (end and (1.0 if kind % 2 else ratio)))
        return ticks[-1]

    monkeypatch.setattr(device.time, "perf_counter", clock)
    monkeypatch.setattr(device, "LARGE", device.SMALL)  # this machine may need a minute for them
    assert choose_precision("auto", CPU)[0] == wanted


def test_a_precision_that_is_set_is_kept() -> None:
    assert choose_precision("fp16", CPU) == ("fp16", "as set")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="there is no 'tpu'; choose auto, cpu, cuda or mps"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="this machine has no cuda that torch can use"):
            choose_device("cuda")
