"""200 steps of training on the fast path and on a plain one: the same losses, in float32.

The plain path is Hugging Face's layers over all tokens, logits at every position, both passes of a consistency step
from the embeddings on, kept tokens by sorting one sequence at a time, and the importance in a dictionary.
"""

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig as HfConfig
from transformers import BertForMaskedLM

from helpers import SPECIAL, make_prepared
from naive import kept_places
from sctd.batches.loader import TrainingBatches
from sctd.model.hf import hf_name, to_hf_config, to_hf_state
from sctd.recipe import build_config
from sctd.tokens.prepared import load_prepared
from sctd.train.optimizer import build_optimizers
from sctd.train.setup import build_objective, read_vocabulary
from sctd.train.step import Stepper

STEPS, BATCH, LENGTH, LR = 200, 4, 32, 1e-3
CPU = torch.device("cpu")
PINNED = {SPECIAL.unk, SPECIAL.sep, SPECIAL.mask}


class Plain:
    """Token dropping and ScTD with Hugging Face's modules, nothing saved."""

    def __init__(self, objective):
        settings = to_hf_config(objective.model.config)
        self.bert = BertForMaskedLM(HfConfig(**settings, attn_implementation="eager"))
        self.bert.load_state_dict(to_hf_state(objective.model), strict=False)
        self.bert.tie_weights()
        self.method, self.consistency = objective.method, objective.consistency
        self.beta = objective.dropping.beta
        self.importance = torch.full((objective.model.config.vocab_size,), objective.dropping.initial_importance)
        for module in self.bert.modules():  # as ours: no dropout
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0

    def run(self, number, hidden):
        output = self.bert.bert.encoder.layer[number](hidden)
        return output[0] if isinstance(output, tuple) else output

    def states(self, ids, kept):
        """(output of layer L-2, of layer L-1); with kept places, by Hou et al."""
        layers = len(self.bert.bert.encoder.layer)
        hidden = self.bert.bert.embeddings(ids)
        if kept is None:
            for number in range(layers - 1):
                hidden = self.run(number, hidden)
            return hidden, self.run(layers - 1, hidden)
        for number in range(layers // 2 - 1):
            hidden = self.run(number, hidden)
        place = kept[..., None].expand(-1, -1, hidden.shape[-1])
        short = self.run(layers // 2 - 1, hidden).gather(1, place)
        for number in range(layers // 2, layers - 1):
            short = self.run(number, short)
        merged = hidden.scatter(1, place, short)
        return merged, self.run(layers - 1, merged)

    def losses(self, last, batch):
        logits = self.bert.cls(last)
        rows = torch.arange(len(batch))[:, None]
        return F.cross_entropy(logits[rows, batch.positions].flatten(0, 1), batch.labels.flatten(), reduction="none")

    def loss(self, batch, consistent):
        ids = batch.input_ids
        if self.method == "dense":
            return self.losses(self.states(ids, None)[1], batch).mean()
        kept = [
            kept_places(row.tolist(), self.importance, second.tolist(), LENGTH // 2, SPECIAL.cls, PINNED, SPECIAL.pad)
            for row, second in zip(ids, batch.tie_break, strict=True)
        ]
        dropped = self.states(ids, torch.tensor(kept))
        each = self.losses(dropped[1], batch)
        self.learn(batch.labels.flatten().tolist(), each.tolist())
        if not consistent:
            return each.mean()
        full = self.states(ids, None)
        apart = sum(self.kl(f[:, 0], d[:, 0]) for f, d in zip(full, dropped, strict=True)) / batch.predictions
        return (each.mean() + self.losses(full[1], batch).mean()) / 2 + self.consistency.weight * apart

    @staticmethod
    def kl(full, dropped):
        p, q = full.softmax(-1), dropped.softmax(-1)
        return (p * (p.log() - q.log())).sum()

    def learn(self, labels, losses):
        found = {}
        for label, loss in zip(labels, losses, strict=True):
            found.setdefault(label, []).append(loss)
        for label, each in found.items():
            self.importance[label] = self.beta * self.importance[label] + (1 - self.beta) * sum(each) / len(each)


@pytest.mark.parametrize("method", ["dense", "drop", "sctd"])
def test_the_loss_curves_of_200_steps_lie_on_each_other(tmp_path, method):
    data = load_prepared(make_prepared(tmp_path, sequences=200, seq_len=LENGTH))
    shape = {"model.num_layers": 4, "model.hidden_size": 32, "model.num_heads": 2, "batch.micro": 3}
    config = build_config({"method": method, "schedule.steps": STEPS, "precision": "fp32", **shape})
    vocabulary = read_vocabulary(data)
    objective = build_objective(config, data, vocabulary, CPU).train()
    plain = Plain(objective)
    named = dict(plain.bert.named_parameters())
    theirs = [hf_name(name) for name, _ in objective.model.named_parameters()]
    twins = torch.nn.ParameterDict({name.replace(".", "/"): named[name] for name in theirs})
    [optimizer] = build_optimizers(twins, config.optimizer, LR, "fp32")
    optimizers = build_optimizers(objective.model, config.optimizer, LR, "fp32")
    stepper = Stepper(objective, optimizers, "fp32", CPU, 3, 1.0, 1)
    batches = TrainingBatches(data.train, vocabulary, config.masking, BATCH, 1)
    fast, slow = [], []
    for step in range(1, STEPS + 1):
        batch = batches.at(step)
        if batch.attention_mask is not None:  # the one padded row of the split: the plain path has no padding
            continue
        consistent = method == "sctd" and step % 10 == 0
        fast.append(float(stepper.run(batch, step, LR, "consistency" if consistent else "drop")["loss_total"]))
        loss = plain.loss(batch, consistent)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twins.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        slow.append(float(loss.detach()))
    assert len(fast) > 180
    assert fast[-1] < fast[0] - 0.5  # it has learned
    assert fast == pytest.approx(slow, abs=2e-5)
