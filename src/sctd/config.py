"""Every setting of a pretraining run, as typed dataclasses: flags, YAML recipes and the API are made from these.

No heavy import here: `sctd --help` reads this file. `sctd.check` says in one sentence what a user got wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sctd.errors import UserError

Method = Literal["dense", "drop", "sctd"]

# layers, hidden size, attention heads: Turc et al. (2019) and Devlin et al. (2019)
PRESETS: dict[str, tuple[int, int, int]] = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


@dataclass
class ModelConfig:
    """The encoder: BERT exactly as Hugging Face's (post-LayerNorm, exact GELU, tied output embedding).

    Args:
        preset: tiny 2x128, mini 4x256, small 4x512, medium 8x512, base 12x768 or large 24x1024 (layers x hidden
            size); the four sizes below override it.
        num_layers: transformer layers L. Published dropping needs an even number, 4 at least.
        hidden_size: H, a multiple of num_heads.
        num_heads: attention heads.
        intermediate_size: width of the feed-forward layer; null: 4 H.
        max_position_embeddings: longest sequence the model can read; null: the data's sequence length.
        dropout: probability on embeddings and on each sublayer's output (published: 0.1).
        attention_dropout: probability on the attention weights (published: 0.1).
        starting_values: what the parameters start as; all stay learned, and the result is a plain BERT. `normal`:
            std 0.02, as published. `sinusoidal`: the position embeddings as sinusoids of the same rms. `local`: these,
            layer 0's heads as looks at the neighbouring tokens, and the output bias as the log of each token's
            frequency; leaves the early plateau soonest (docs/design.md).
        attention: `sdpa` (torch's fused kernels), `eager` (explicit softmax) or `auto`: eager on a CPU for
            sequences of up to 512 tokens, where torch's fused backward is the slower one, sdpa elsewhere.
        gradient_checkpointing: recompute each layer in the backward pass; less memory, about a third more time.
    """

    preset: str = "mini"
    num_layers: int | None = None
    hidden_size: int | None = None
    num_heads: int | None = None
    intermediate_size: int | None = None
    max_position_embeddings: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    starting_values: Literal["normal", "sinusoidal", "local"] = "sinusoidal"
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    gradient_checkpointing: bool = False


@dataclass
class MaskingConfig:
    """Masked language modelling (Devlin et al., 2019), drawn anew at every visit of a sequence.

    Args:
        mlm_probability: share of the tokens that are predicted; exactly floor(mlm_probability * S) in a full
            sequence of S tokens.
        whole_word: mask all pieces of a word together (WordPiece and byte-level BPE).
        mask_share: share of the predicted tokens that become [MASK].
        random_share: share that becomes a random token; the rest stays as it is.
    """

    mlm_probability: float = 0.15
    whole_word: bool = False
    mask_share: float = 0.8
    random_share: float = 0.1


@dataclass
class DroppingConfig:
    """Token dropping (Hou et al., 2022), used by the methods `drop` and `sctd`, in training only.

    Args:
        keep_ratio: share K/S of each sequence's tokens that the middle layers process, in (0, 1]; published: 0.5.
        keep_rule: how the kept tokens are chosen: `importance` (published), `random` or `frequency` (rare first).
        beta: decay of the running importance, m <- beta m + (1 - beta) loss; Hou et al. 0.995, ScTD's code 0.95.
        initial_importance: value that every token id starts with.
        route: the way through the middle layers. `hybrid` (published): the first of them still reads all tokens as
            keys and values. `skip`: the kept tokens alone from the first on (as TREAD, Krause et al., 2025). `redraw`:
            so too, each middle layer with random tokens of its own (random-LTD, Yao et al., 2022); keep_rule random.
        start_layer: number, from 0, of the first middle layer; null: L/2 - 1, as published. Below 0 it is counted from
            the end, -1 being the last layer.
        end_layer: number of the layer from which on all tokens are processed again; null: -1, as published.
        full_start: share of the run's steps, at its start, in which nothing is dropped.
        full_tail: the same at its end. In neither are there consistency steps.
    """

    keep_ratio: float = 0.5
    keep_rule: str = "importance"
    beta: float = 0.995
    initial_importance: float = 10.0
    route: str = "hybrid"
    start_layer: int | None = None
    end_layer: int | None = None
    full_start: float = 0.0
    full_tail: float = 0.0


@dataclass
class ConsistencyConfig:
    """Semantic-consistent learning (Zhong et al., 2023), used by the method `sctd`.

    Args:
        interval: Fi: every Fi-th step the full and the dropped pass are made to agree; published: 10; null: never.
        weight: lambda, the weight of the consistency terms; released code: 0.05.
        variant: `paper` (both passes have their masked-LM loss, gradient through both), `released-code` (the full
            pass has none) or `teacher` (as paper, with the full pass detached in the consistency terms).
        distance: `kl` (published: KL(softmax(full) || softmax(dropped)) over the H hidden units), `mse` or `cosine`.
        terms: `both`, `local` (output of layer L-2) or `global` (output of layer L-1).
        place: `cls` (published: the [CLS] row) or `mean` (mean over the kept rows, the same rows of both passes).
        reduction: `per_masked_token` (published: sum over sequences / number of masked tokens) or `per_sequence`
            (mean over sequences: stronger by the number of masked tokens a sequence, 19 at S=128, 76 at S=512).
        share_prefix: compute layers 0 .. L/2-2 once for both passes. Exact without dropout; with dropout one mask
            serves both, a slightly different objective (false is the published behaviour).
    """

    interval: int | None = 10
    weight: float = 0.05
    variant: Literal["paper", "released-code", "teacher"] = "paper"
    distance: str = "kl"
    terms: Literal["both", "local", "global"] = "both"
    place: Literal["cls", "mean"] = "cls"
    reduction: Literal["per_masked_token", "per_sequence"] = "per_masked_token"
    share_prefix: bool = True


@dataclass
class OptimizerConfig:
    """The optimizer.

    Args:
        name: `adamw` (Loshchilov and Hutter, 2019), or `muon` (Jordan et al., 2024) for the matrices of the layers and
            the head, with adamw for the rest, at the same learning rate.
        lr: peak learning rate; null: 1e-3 from scratch, 1e-4 with `--init-from` (see docs/design.md).
        betas: decay of Adam's running moments.
        eps: added to the denominator of Adam's update.
        weight_decay: on matrices and embeddings, never on LayerNorm and biases.
        grad_clip: largest norm of the whole gradient; null: no clipping (as published).
    """

    name: str = "adamw"
    lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    grad_clip: float | None = 1.0


@dataclass
class ScheduleConfig:
    """How long the run is, and its learning rate through time.

    Args:
        name: after a linear warm-up, `linear` (to 0), `cosine` (to 0) or `wsd` (stable, then linear to 0).
        steps: optimizer steps; give this or minutes; of both, the one that ends the run sooner counts.
        minutes: wall-clock budget of training, turned into a number of steps by measuring the step time first.
        warmup: steps of warm-up if 1 or more, else a share of all steps.
        decay: for wsd: share of all steps at the end in which the rate falls to 0.
    """

    name: str = "linear"
    steps: int | None = None
    minutes: float | None = None
    warmup: float = 0.12
    decay: float = 0.2


@dataclass
class BatchConfig:
    """Sequences a step.

    Args:
        size: sequences in one optimizer step (the global batch).
        micro: sequences that go through the model at a time; null: as many as fit, halved when memory runs out.
    """

    size: int = 32
    micro: int | None = None


@dataclass
class EvalConfig:
    """Held-out evaluation: full network, no dropout, the same sequences and masks in every run on the same data.

    Args:
        every: steps between evaluations; null: 20 evaluations a run, fewer in a run so short that they would be most
            of it.
        sequences: validation sequences to evaluate on (fewer where the data has fewer).
        baselines: also compute what a unigram and a bigram model reach at the same [MASK] inputs.
        probes: cheap signals of what the model understands: `probe:NAME`, `blimp`, `blimp:NAME` (a set or
            phenomenon), `task:NAME` (a quick fine-tuning); they go into metrics.jsonl as eval_probe_NAME and so on.
        probes_data: folder that holds `probing`, `blimp` and `tasks`, as far as probes asks for them.
        probes_every: steps between them; null: 5 times a run.
    """

    every: int | None = None
    sequences: int = 512
    baselines: bool = True
    probes: list[str] = field(default_factory=list)
    probes_data: str | None = None
    probes_every: int | None = None


@dataclass
class CheckpointConfig:
    """Checkpoints: everything that a resumed run needs to go on to the same weights.

    Args:
        every: steps between checkpoints; null: 10 a run. One is always written at the end and on Ctrl-C.
        keep: how many of the newest to keep.
        keep_every: also keep those of steps that are multiples of this; null: none.
        keep_best: also keep the one with the lowest held-out loss, of those at a step that was evaluated.
        background: write them while training goes on, which waits for a copy in memory alone.
    """

    every: int | None = None
    keep: int = 2
    keep_every: int | None = None
    keep_best: bool = False
    background: bool = True


@dataclass
class LogConfig:
    """What is written while training.

    Args:
        every: steps between lines in metrics.jsonl; null: 200 lines a run.
        tensorboard: write TensorBoard scalars to RUN/tb.
        wandb: project of Weights & Biases to log to (needs `pip install wandb`); null: none.
        trackio: project of Trackio to log to (needs `pip install trackio`); null: none.
        heartbeat: seconds between two writings of RUN/heartbeat.json (phase, step, time, host); null: none.
    """

    every: int | None = None
    tensorboard: bool = True
    wandb: str | None = None
    trackio: str | None = None
    heartbeat: float | None = 10.0


@dataclass
class PretrainConfig:
    """One pretraining run.

    Args:
        method: `dense` (plain BERT), `drop` (token dropping) or `sctd` (token dropping with semantic-consistent
            learning).
        seed: of the weights, the batch order, the masking and the dropout.
        precision: `fp32`, `bf16` or `fp16` (autocast, with loss scaling) or `auto`: bf16 where the device multiplies
            it fast (CUDA; a CPU where a short measurement says so), else fp16 on CUDA and fp32 on CPU and MPS.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.
        compile: compile the model with torch.compile (CPU needs a C++ compiler).
        cuda_graphs: with compile, on one NVIDIA GPU: record each kind of step once and replay it (CUDA graphs), which
            small models gain from, as starting their kernels takes longer than running them.
        parallel: how the model is spread where there are several processes (--nproc, torchrun): `ddp`, each has it
            whole, or `fsdp`, each has a part of every parameter, gradient and optimizer state (FSDP2).
        init_from: a Hugging Face BERT to continue from: a folder, a finished run of `sctd pretrain`, or `hf:NAME`.
            Its shape and tokenizer are taken over, so model.preset is not read. null: start from scratch.
    """

    method: Method = "sctd"
    seed: int = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    parallel: str = "ddp"
    init_from: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    dropping: DroppingConfig = field(default_factory=DroppingConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)


def note_given(config: PretrainConfig, names: Iterable[str]) -> None:
    """Remember which settings were given, by their dotted names: one may be given that is what it is by default."""
    vars(config)["_given"] = frozenset(names)


def given_names(config: PretrainConfig) -> frozenset[str]:
    """The names of `note_given`; none where nobody noted any, as for one that a program made."""
    names: frozenset[str] = vars(config).get("_given", frozenset())
    return names


def resolve_shape(model: ModelConfig) -> tuple[int, int, int, int]:
    """(num_layers, hidden_size, num_heads, intermediate_size) after preset and overrides.

    Raises UserError for an unknown preset or sizes that do not fit together.
    """
    if model.preset not in PRESETS:
        raise UserError(f"model.preset: there is no {model.preset!r}; choose one of {', '.join(PRESETS)}.")
    layers, hidden, heads = PRESETS[model.preset]
    layers = layers if model.num_layers is None else model.num_layers
    hidden = hidden if model.hidden_size is None else model.hidden_size
    heads = heads if model.num_heads is None else model.num_heads
    intermediate = 4 * hidden if model.intermediate_size is None else model.intermediate_size
    for name, value in (("num_layers", layers), ("hidden_size", hidden), ("num_heads", heads)):
        if value < 1:
            raise UserError(f"model.{name} is {value}; it must be 1 or more.")
    if intermediate < 1:
        raise UserError(f"model.intermediate_size is {intermediate}; it must be 1 or more.")
    if hidden % heads:
        raise UserError(f"model.hidden_size {hidden} is not a multiple of model.num_heads {heads}; change one of them.")
    return layers, hidden, heads, intermediate


def resolve_middle(dropping: DroppingConfig, num_layers: int) -> tuple[int, int]:
    """(start, end): layers start .. end - 1 are the middle ones, which process the kept tokens.

    Raises UserError where there is no such layer.
    """
    start, end = dropping.start_layer, dropping.end_layer
    if (start is None or end is None) and (num_layers < 4 or num_layers % 2):
        raise UserError(
            f"dropping as published needs an even number of layers, 4 at least, and the model has {num_layers}: set "
            "model.num_layers (or model.preset) accordingly, give dropping.start_layer and dropping.end_layer, or use "
            "--method dense."
        )
    start = num_layers // 2 - 1 if start is None else start + num_layers * (start < 0)
    end = num_layers - 1 if end is None else end + num_layers * (end < 0)
    if not 0 <= start < end <= num_layers - 1:
        raise UserError(
            f"dropping.start_layer {start} and dropping.end_layer {end} do not fit a model of {num_layers} layers: "
            f"start must be 0 or more and below end, and end at most {num_layers - 1}, as the last layer reads all."
        )
    return start, end
