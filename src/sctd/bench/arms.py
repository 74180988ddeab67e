"""What can be measured, by name. Light: nothing is imported to name an arm."""

from __future__ import annotations

from dataclasses import dataclass

MANY_STEPS = 1_000_000
LR = 1e-6  # weights hardly move, so that every step meets numbers of the same kind


@dataclass(frozen=True)
class Peer:
    """transformers' BertForMaskedLM under its Trainer with its masking collator.

    Args:
        attention: as `attn_implementation`.
        compiled: as `torch_compile` of TrainingArguments.
        mode: as `torch_compile_mode`; reduce-overhead replays CUDA graphs.
        workers: as `dataloader_num_workers`, on a GPU.
    """

    attention: str = "sdpa"
    compiled: bool = False
    mode: str | None = None
    workers: int = 0


METHODS = ("dense", "drop", "sctd")
PEERS = {
    "hf": Peer(),
    "hf-eager": Peer("eager"),
    "hf-compiled": Peer(compiled=True, workers=4),
    "hf-graphs": Peer(compiled=True, mode="reduce-overhead", workers=4),
    "hf-eager-compiled": Peer("eager", compiled=True, workers=4),
}
MATMUL = "matmul"  # the bare matrix product, in every measurement
