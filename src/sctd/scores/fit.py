"""Fine-tuning with transformers' Trainer, and prediction, with batches of like lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sctd.errors import UserError
from sctd.scores.encoder import Encoder
from sctd.scores.finetuning import FineTuning
from sctd.scores.heads.head import Features, collate, length

if TYPE_CHECKING:
    import torch

PREDICTION_TOKENS = 8192  # tokens of a batch, padding included
Advance = Callable[[int], None]  # told how many examples are done


def fine_tune(
    encoder: Encoder, network: Any, features: Features, settings: FineTuning, seed: int, advance: Advance
) -> None:
    """Train a network in place on features with labels; order and dropout are functions of the seed."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Progress(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(settings.batch_size)

    pad = encoder.tokenizer.pad_token_id
    with tempfile.TemporaryDirectory() as nowhere:
        arguments = TrainingArguments(
            output_dir=nowhere,
            seed=seed,
            learning_rate=settings.lr,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            warmup_steps=settings.warmup,  # a share, as it is below 1
            weight_decay=settings.weight_decay,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            bf16=encoder.precision == "bf16",
            fp16=encoder.precision == "fp16",
            use_cpu=encoder.device.type == "cpu",
            dataloader_pin_memory=encoder.device.type == "cuda",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        arguments.device  # noqa: B018  # asking for it sets the number of GPUs
        arguments._n_gpu = min(arguments.n_gpu, 1)  # one a process: the batch is what was asked for
        trainer = Trainer(
            model=network,
            args=arguments,
            train_dataset=features.inputs,
            data_collator=lambda inputs: collate(inputs, pad),
            callbacks=[Progress()],
        )
        trainer.pop_callback(PrinterCallback)  # it would print the training loss
        trainer.train()


def predict(encoder: Encoder, network: Any, features: Features, advance: Advance) -> list[np.ndarray]:
    """The network's logits of every input, in order: (labels,) or, of spans, (S, 2), without the padding's."""
    import torch

    from sctd.train.device import autocast

    network.eval()
    outputs: list[Any] = [None] * len(features)
    for numbers in batches_by_length([length(one) for one in features.inputs], PREDICTION_TOKENS):
        batch = collate([features.inputs[i] for i in numbers], encoder.tokenizer.pad_token_id)
        batch = {name: tensor.to(encoder.device) for name, tensor in batch.items()}
        with torch.inference_mode(), autocast(encoder.precision, encoder.device):
            found = network(**batch)
        logits = _joined(found).float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise UserError(
                f"{encoder.folder}: the network's outputs are no finite numbers: its weights are damaged, or its "
                "fine-tuning ran away, against which a smaller --lr helps."
            )
        for i, row in zip(numbers, logits, strict=True):
            outputs[i] = row[: len(features.inputs[i]["input_ids"])] if row.ndim == 2 else row
        advance(len(numbers))
    return outputs


def _joined(found: Any) -> torch.Tensor:
    """Logits (B, labels), or of spans start and end side by side, (B, S, 2)."""
    import torch

    if "start_logits" in found:
        return torch.stack([found["start_logits"], found["end_logits"]], dim=-1)
    logits: torch.Tensor = found["logits"]
    return logits


def batches_by_length(lengths: list[int], most: int) -> list[list[int]]:
    """Indices in batches of like lengths whose padded size is at most `most` tokens, the longest first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= most:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
