"""What a user would run instead: Hugging Face's BERT under its Trainer, some steps at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sctd.bench.arms import LR, MANY_STEPS, Peer
from sctd.bench.worker import Commands, Job
from sctd.config import PretrainConfig, resolve_shape
from sctd.tokens.prepared import PreparedData, load_prepared
from sctd.train.device import choose_device, choose_precision, synchronise


class Sequences(torch.utils.data.Dataset[dict[str, Any]]):
    """The training split as the Trainer reads it."""

    def __init__(self, data: PreparedData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.train)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.data.train.rows(np.array([index]))[0]}


def huggingface(job: Job, config: PretrainConfig, commands: Commands, peer: Peer) -> None:
    """BertForMaskedLM at the configuration's shape, batch, dropout, precision and clipping; AdamW, fused.

    Its Trainer runs the loop, and waits between turns: a turn is from the order to the callback at its last step's end,
    with all batches, forwards, backwards and optimizer steps. On a GPU a tuned form makes its batches in processes of
    their own; the Trainer's default makes them between the steps.
    """
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    data = load_prepared(Path(job.data))
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)[0]
    layers, hidden, heads, intermediate = resolve_shape(config.model)
    torch.manual_seed(config.seed)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=data.manifest.vocab_size,
            num_hidden_layers=layers,
            hidden_size=hidden,
            num_attention_heads=heads,
            intermediate_size=intermediate,
            max_position_embeddings=data.manifest.seq_len,
            hidden_dropout_prob=config.model.dropout,
            attention_probs_dropout_prob=config.model.attention_dropout,
        )
    )
    model.set_attn_implementation(peer.attention)
    collator = DataCollatorForLanguageModeling(
        AutoTokenizer.from_pretrained(data.tokenizer_dir, local_files_only=True, trust_remote_code=False),
        mlm_probability=config.masking.mlm_probability,
    )
    arguments = TrainingArguments(
        output_dir=job.scratch,
        per_device_train_batch_size=config.batch.micro or config.batch.size,
        gradient_accumulation_steps=config.batch.size // (config.batch.micro or config.batch.size),
        max_steps=MANY_STEPS,
        learning_rate=LR,
        weight_decay=config.optimizer.weight_decay,
        max_grad_norm=config.optimizer.grad_clip or 0.0,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        torch_compile=peer.compiled,
        torch_compile_mode=peer.mode,
        dataloader_num_workers=peer.workers if device.type == "cuda" else 0,
        use_cpu=device.type == "cpu",
        optim="adamw_torch_fused" if device.type != "mps" else "adamw_torch",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=config.seed,
    )

    class Turns(TrainerCallback):
        began = 0.0
        steps = left = 0

        def wait(self, control: Any) -> None:
            command = commands.next_step()
            if command is None:
                control.should_training_stop = True
            else:
                self.steps = self.left = command["steps"]
            self.began = time.perf_counter()

        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.wait(control)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.left -= 1
            if self.left == 0:
                synchronise(device)
                commands.answer(seconds=(time.perf_counter() - self.began) / self.steps, parts={})
                self.wait(control)

    Trainer(
        model=model,
        args=arguments,
        train_dataset=Sequences(data),
        data_collator=collator,
        callbacks=[Turns()],
    ).train()
