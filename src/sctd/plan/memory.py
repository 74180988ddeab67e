"""Bytes that a run takes on one device: what it holds from step to step, and what a micro-batch adds.

What the layers keep for the backward pass is what torch's autograd saves of ours; tests/test_plan.py counts it there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sctd.config import PretrainConfig, resolve_shape

if TYPE_CHECKING:
    from sctd.method.cost import Shape
    from sctd.method.step_plan import StepKind

SINGLE = 4  # bytes of a float32
ELEMENT = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes of what matrix products read and write under autocast
TOKEN_TYPES = 2
ADAMW_STATES = 2  # float32 numbers a parameter: both moments
MUON_STATES = 1  # of a matrix: its momentum
# On a CPU: a process that holds no model (Python, torch, a tokenizer), and how many times what is held the process
# grows by, as glibc keeps what is freed, with gaps. Set on the measurements in docs/planning.md.
CPU_PROCESS, CPU_GAPS = 400 * 2**20, 1.25


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters; the output embedding is the input's.

    Args:
        embeddings: token, position and token type embeddings, and their LayerNorm.
        layer: of one layer.
        layer_matrix: of these, in matrices.
        head: the masked-LM head, but for the tied matrix.
        head_matrix: of these, in its matrix.
        num_layers: L.
    """

    embeddings: int
    layer: int
    layer_matrix: int
    head: int
    head_matrix: int
    num_layers: int

    @classmethod
    def of(cls, config: PretrainConfig, vocab_size: int, seq_len: int) -> Parameters:
        """Of the settings, for data of this vocabulary and length."""
        layers, width, _, intermediate = resolve_shape(config.model)
        positions = config.model.max_position_embeddings or seq_len
        matrix = 4 * width**2 + 2 * width * intermediate
        vectors = 4 * width + intermediate + width + 4 * width  # biases, and two LayerNorms
        head_matrix = width**2
        return cls(
            (vocab_size + positions + TOKEN_TYPES + 2) * width,
            matrix + vectors,
            matrix,
            head_matrix + 3 * width + vocab_size,
            head_matrix,
            layers,
        )

    @property
    def total(self) -> int:
        """All that are learned."""
        return self.embeddings + self.num_layers * self.layer + self.head

    @property
    def outside(self) -> int:
        """Those of no layer."""
        return self.embeddings + self.head

    def optimizer_numbers(self, name: str) -> int:
        """float32 numbers of the optimizer's state."""
        matrices = self.num_layers * self.layer_matrix + self.head_matrix if name == "muon" else 0
        return MUON_STATES * matrices + ADAMW_STATES * (self.total - matrices)


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Args:
        parameters: float32 weights; with FSDP2 this process's part, and what is gathered at one time.
        optimizer: its state.
        gradients: where they stand beside a micro-batch's activations: those of the micro-batches before it.
        buckets: DDP's copy of the gradients.
        copies: the weights in the type of autocast, which the backward pass reads.
        activations: what the micro-batch's layers keep for the backward pass.
        loss: of the logits and their gradients.
        at_end: gradients at the end of the backward pass, when no activations are left.
    """

    parameters: int
    optimizer: int
    gradients: int
    buckets: int
    copies: int
    activations: int
    loss: int
    at_end: int

    @property
    def peak(self) -> int:
        """The most at any time of a step."""
        held = self.parameters + self.optimizer + self.buckets
        return held + max(self.gradients + self.copies + self.activations + self.loss, self.at_end)

    def to_json(self) -> dict[str, int]:
        """Each part, and the peak."""
        return {**asdict(self), "peak": self.peak}


@dataclass(frozen=True)
class Setting:
    """Where and how the settings run.

    Args:
        vocab_size: V.
        seq_len: S.
        precision: fp32, bf16 or fp16.
        device: cpu or cuda.
        processes: that share each batch.
    """

    vocab_size: int
    seq_len: int
    precision: str = "bf16"
    device: str = "cuda"
    processes: int = 1


def saved_by_layer(config: PretrainConfig, queries: int, keys: int, setting: Setting) -> int:
    """Bytes that one layer keeps of one sequence.

    Args:
        config: the settings.
        queries: rows of the queries and of the feed-forward part.
        keys: rows of the keys and values.
        setting: where it runs.
    """
    from sctd.model.attention import choose_attention

    _, width, heads, intermediate = resolve_shape(config.model)
    if config.model.gradient_checkpointing:
        return SINGLE * keys * width  # the layer's input
    element, on_gpu = ELEMENT[setting.precision], setting.device != "cpu"
    mask = 1 if on_gpu else element  # bytes of a dropout's mask, a number
    at_keys = 3 * element * width  # the projections' input, keys, values
    # query, attended, the feed-forward's input; before and after GELU; the LayerNorms' inputs and statistics
    at_queries = 3 * element * width + 2 * element * intermediate + 2 * SINGLE * width + 4 * SINGLE
    if queries != keys:
        at_queries += element * width  # the rows that were taken
    if config.model.dropout:
        at_queries += 2 * mask * width
    weights = 0
    if choose_attention(config.model.attention, setting.device, setting.seq_len) == "eager":
        # autocast on a GPU has the softmax in float32, and a copy of it
        weights = element if not on_gpu or element == SINGLE else element + SINGLE
        if config.model.attention_dropout:
            weights += mask + element
    else:
        at_queries += SINGLE * heads  # the logarithms of the softmax's sums
        if config.model.attention_dropout and not on_gpu:
            weights = 4 * SINGLE  # torch has no fused kernel with dropout there
    return keys * at_keys + queries * at_queries + weights * heads * queries * keys


def step_memory(
    config: PretrainConfig, shape: Shape, kind: StepKind, micro: int, several: bool, setting: Setting
) -> Memory:
    """Bytes of a step of this kind.

    Args:
        config: the settings.
        shape: of the same, `sctd.method.cost.Shape.of`.
        kind: of the step.
        micro: sequences at a time.
        several: the step has more than one micro-batch, so that gradients stand beside activations.
        setting: where it runs.
    """
    count = Parameters.of(config, setting.vocab_size, setting.seq_len)
    width, element = shape.hidden_size, ELEMENT[setting.precision]
    runs, all_rows = shape.runs(kind), setting.seq_len * width
    joined = 3 * width**2 * element  # query, key and value as one matrix, made anew at every run of a layer
    copies = len(runs) * joined
    if element < SINGLE:
        copies += element * (
            shape.num_layers * (count.layer_matrix - 3 * width**2) + count.head_matrix + setting.vocab_size * width
        )
    layers = [saved_by_layer(config, queries, keys, setting) for queries, keys in runs]
    if config.model.gradient_checkpointing:  # one layer at a time is computed anew
        whole = replace(config, model=replace(config.model, gradient_checkpointing=False))
        layers.append(max(saved_by_layer(whole, queries, keys, setting) for queries, keys in runs))
    embedded = SINGLE * all_rows * (2 if config.model.dropout else 1)
    head = shape.heads(kind) * width * (3 * element + 2 * SINGLE)
    heads, single = shape.heads(kind), element if config.compile else SINGLE
    # the logarithms of the softmax, and at one pass's backward their gradient and the logits'; fused, the logits and
    # their gradient
    logits = single * (2 * heads if config.compile else heads + 2 * shape.predictions)
    # after that the gradient of the tied matrix, in autocast's type and in float32
    tied = micro * single * heads * shape.vocab_size + (element + SINGLE) * setting.vocab_size * width
    loss = max(micro * logits * shape.vocab_size, tied)
    return _spread(config, count, setting, several, copies, micro * (sum(layers) + embedded + head), loss)


def _spread(
    config: PretrainConfig,
    count: Parameters,
    setting: Setting,
    several: bool,
    copies: int,
    activations: int,
    loss: int,
) -> Memory:
    """The bytes of a model that is whole in every process, or of which each has a part."""
    states = SINGLE * count.optimizer_numbers(config.optimizer.name)
    weights = SINGLE * count.total
    embedding = SINGLE * setting.vocab_size * resolve_shape(config.model)[1]  # its second gradient, of the input
    if setting.processes == 1 or config.parallel == "ddp":
        return Memory(
            weights,
            states,
            weights if several else 0,
            weights if setting.processes > 1 else 0,
            copies,
            activations,
            loss,
            weights + (2 if several else 1) * embedding,
        )
    part = math.ceil(1 / setting.processes * weights)
    # what is of no layer stays gathered through both passes, and two layers are at one time
    gathered = SINGLE * (count.outside + 2 * count.layer)
    return Memory(
        part + gathered,
        math.ceil(states / setting.processes),
        weights if several else 0,  # not exchanged, and so whole, until the step's last micro-batch
        0,
        copies,
        activations,
        loss,
        part + gathered + embedding + (weights if several else 0),
    )


def run_memory(config: PretrainConfig, micro: int, share: int, setting: Setting) -> Memory:
    """Bytes of the run's largest kind of step.

    Args:
        config: the settings.
        micro: sequences at a time.
        share: sequences of a step in one process.
        setting: where it runs.
    """
    from sctd.method.cost import Shape
    from sctd.method.step_plan import StepPlan

    shape = Shape.of(config, setting.vocab_size, setting.seq_len)
    kinds = StepPlan.of(config).shares()
    found = [step_memory(config, shape, kind, micro, share > micro, setting) for kind in kinds]
    return max(found, key=lambda memory: memory.peak)


def taken(memory: Memory, setting: Setting) -> int:
    """Bytes that the device sees of a peak: on a CPU those of the whole process."""
    return CPU_PROCESS + int(CPU_GAPS * memory.peak) if setting.device == "cpu" else memory.peak


def largest_micro(config: PretrainConfig, share: int, room: float, setting: Setting) -> int:
    """The most sequences at a time, up to `share`, that take no more than `room` bytes; 0 where one does not fit."""

    def fit(micro: int) -> bool:
        return taken(run_memory(config, micro, share, setting), setting) <= room

    if fit(share):  # first, as a step of one micro-batch holds no gradients beside it
        return share
    fits, too_many = 0, share
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if fit(middle) else (fits, middle)
    return fits


def halved_to(most: int, share: int) -> int:
    """The micro-batch that a run in one process comes to: the whole share, halved until it fits."""
    while share > max(most, 1):
        share //= 2
    return share


def settings_that_fit(
    config: PretrainConfig,
    vocab_size: int,
    seq_len: int,
    bytes_free: float,
    *,
    failed: int | None = None,
    precision: str = "bf16",
    device: str = "cuda",
    processes: int = 1,
) -> str:
    """What would let the run fit, as the end of a sentence: `batch.micro 8 or model.gradient_checkpointing true`.

    Args:
        config: the settings that do not fit.
        vocab_size: V.
        seq_len: S.
        bytes_free: of the device, for all that the run holds, its weights and optimizer among it.
        failed: sequences at a time with which memory ran out; fewer are named. null: the process's share.
        precision: fp32, bf16 or fp16.
        device: cpu or cuda.
        processes: that share each batch.
    """
    setting = Setting(vocab_size, seq_len, precision, device, processes)
    share = max(1, config.batch.size // processes)
    below = share if failed is None else failed - 1
    found = []
    if micro := min(below, largest_micro(config, share, bytes_free, setting)):
        found.append(f"batch.micro {halved_to(micro, share)}")
    changes: Mapping[str, PretrainConfig] = {
        "model.gradient_checkpointing true": replace(config, model=replace(config.model, gradient_checkpointing=True)),
        "parallel fsdp": replace(config, parallel="fsdp"),
    }
    for name, changed in changes.items():
        if changed == config or (name.startswith("parallel") and processes == 1):
            continue
        if most := largest_micro(changed, share, bytes_free, setting):
            wanted = min(config.batch.micro or share, share)
            within = halved_to(most, wanted)
            found.append(name + (f" with batch.micro {within}" if within < wanted else ""))
    if found:
        return " or ".join(found)
    shorter = seq_len // 2
    while shorter >= 32 and config.model.max_position_embeddings is None:
        if largest_micro(config, 1, bytes_free, replace(setting, seq_len=shorter)):
            return f"data prepared with --seq-len {shorter} and batch.micro 1"
        shorter //= 2
    return "a smaller model"
