"""What a user got wrong in the settings, in one sentence. No heavy import here."""

from __future__ import annotations

from sctd.config import PretrainConfig, resolve_middle, resolve_shape
from sctd.errors import UserError

# a larger model is a slip of the hand, or a checkpoint's damaged settings
LARGEST = {
    **{"num_layers": 512, "num_heads": 2**10, "hidden_size": 2**16, "intermediate_size": 2**18},
    "max_position_embeddings": 2**20,
}


def _between(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    below = value <= low if open_low else value < low
    if below or value > high or value != value:
        raise UserError(f"{name} is {value}; it must be in {'(' if open_low else '['}{low:g}, {high:g}].")


def check(config: PretrainConfig) -> None:
    """Raise UserError, in one sentence, for the first setting that cannot work."""
    layers = resolve_shape(config.model)[0]
    if config.cuda_graphs and not config.compile:
        raise UserError("cuda_graphs is true, which is a way to run what torch.compile makes: set compile true too.")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"seed is {config.seed}; it must be 0 or more, and below 2**63.")
    if config.init_from is not None:
        for name in ("num_layers", "hidden_size", "num_heads", "intermediate_size", "max_position_embeddings"):
            if getattr(config.model, name) is not None:
                raise UserError(
                    f"model.{name} is set, but with init_from the model's shape is that of {config.init_from}: "
                    "leave it out."
                )
    for name, most in LARGEST.items():
        size = getattr(config.model, name)
        if size is not None and not 1 <= size <= most:
            raise UserError(f"model.{name} is {size}; it must be in [1, {most:,}].")
    _between("dropping.keep_ratio", config.dropping.keep_ratio, 0, 1, open_low=True)
    _between("dropping.beta", config.dropping.beta, 0, 1)
    if config.init_from is None and config.method != "dense":
        resolve_middle(config.dropping, layers)
    _between("dropping.full_start", config.dropping.full_start, 0, 1)
    _between("dropping.full_tail", config.dropping.full_tail, 0, 1)
    if config.dropping.full_start + config.dropping.full_tail >= 1:
        raise UserError(
            "dropping.full_start and dropping.full_tail leave no step with dropping: make them smaller, or use "
            "--method dense."
        )
    if config.dropping.route == "redraw" and config.dropping.keep_rule != "random":
        raise UserError(
            "dropping.route redraw has tokens drawn anew in every layer, where the rule "
            f"{config.dropping.keep_rule!r} would choose the same ones: set dropping.keep_rule random."
        )
    _between("masking.mlm_probability", config.masking.mlm_probability, 0, 1, open_low=True)
    _between("masking.mask_share", config.masking.mask_share, 0, 1)
    _between("masking.random_share", config.masking.random_share, 0, 1 - config.masking.mask_share + 1e-9)
    _between("model.dropout", config.model.dropout, 0, 0.99)
    _between("model.attention_dropout", config.model.attention_dropout, 0, 0.99)
    _between("schedule.decay", config.schedule.decay, 0, 1)
    if config.schedule.steps is None and config.schedule.minutes is None:
        raise UserError("The run has no length: set schedule.steps or schedule.minutes.")
    at_least_one = {
        "schedule.steps": config.schedule.steps,
        "consistency.interval": config.consistency.interval,
        "batch.size": config.batch.size,
        "batch.micro": config.batch.micro,
        "eval.every": config.eval.every,
        "eval.probes_every": config.eval.probes_every,
        "eval.sequences": config.eval.sequences,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
        "checkpoint.keep_every": config.checkpoint.keep_every,
        "log.every": config.log.every,
    }
    for name, number in at_least_one.items():
        if number is not None and number < 1:
            raise UserError(f"{name} is {number}; it must be 1 or more.")
    above_zero = {
        "schedule.minutes": config.schedule.minutes,
        "log.heartbeat": config.log.heartbeat,
        "optimizer.lr": config.optimizer.lr,
        "optimizer.grad_clip": config.optimizer.grad_clip,
        "optimizer.eps": config.optimizer.eps,
    }
    for name, value in above_zero.items():
        if value is not None and not value > 0:
            raise UserError(f"{name} is {value}; it must be above 0.")
    for name, value in (
        ("schedule.warmup", config.schedule.warmup),
        ("consistency.weight", config.consistency.weight),
        ("optimizer.weight_decay", config.optimizer.weight_decay),
    ):
        if not value >= 0:
            raise UserError(f"{name} is {value}; it must be 0 or more.")
    _between("optimizer.betas[0]", config.optimizer.betas[0], 0, 0.99999)
    _between("optimizer.betas[1]", config.optimizer.betas[1], 0, 0.999999)
