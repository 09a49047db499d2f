"""transformers' Trainer for rows with images: loss on labelled tokens only, separate rate for the vision tower."""

import sys
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from longva_demo.train.rows import IGNORED

TOWER = "vision_tower."


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Rows, input_ids and labels (1, T) each, to a batch (rows, longest T), padded on the right.

    One row has no attention mask: context parallelism needs its absence.
    """
    if len(rows) == 1:
        return rows[0]

    def pad(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad_sequence([tensor[0] for tensor in tensors], batch_first=True, padding_value=value)

    visuals = ("pixel_values", "visual_slots")
    return {
        "input_ids": pad([row["input_ids"] for row in rows], 0),
        "attention_mask": pad([torch.ones_like(row["input_ids"]) for row in rows], 0),
        "labels": pad([row["labels"] for row in rows], IGNORED),
        **{name: torch.cat([row[name] for row in rows]) for name in visuals},
    }


class LongVATrainer(Trainer):
    """Computes logits only at labelled positions: those of all positions would fill the memory."""

    def __init__(
        self, model: PreTrainedModel, training: TrainingArguments, data: Dataset, vision_tower_lr: float | None = None
    ) -> None:
        training.remove_unused_columns = False
        training.label_names = ["labels"]
        super().__init__(model, training, train_dataset=data, data_collator=collate)
        self._vision_tower_lr = vision_tower_lr

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over all labelled tokens of a step, independent of how rows, accumulation and processes divide them."""
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        targets = torch.cat([labels[:, 1:], labels.new_full((len(labels), 1), IGNORED)], dim=1)  # (batch, T)
        places = (targets != IGNORED).any(0).nonzero()[:, 0]
        outputs = model(**inputs, logits_to_keep=places)
        logits, chosen = outputs.logits.flatten(0, 1).float(), targets[:, places].flatten()
        loss = torch.nn.functional.cross_entropy(logits, chosen, ignore_index=IGNORED, reduction="sum")
        count = num_items_in_batch if num_items_in_batch is not None else (chosen != IGNORED).sum()
        loss = loss / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # since gradients are averaged over processes
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """Like Trainer's, with the vision tower's parameters in a group with its own learning rate."""
        if self.optimizer is None and self._vision_tower_lr is not None:
            trained: Any = model if model is not None else self.model
            named = [(name, weight) for name, weight in trained.named_parameters() if weight.requires_grad]
            tower = [weight for name, weight in named if TOWER in name]
            groups: list[dict[str, Any]] = [{"params": [weight for name, weight in named if TOWER not in name]}]
            groups += [{"params": tower, "lr": self._vision_tower_lr}] if tower else []
            optimizer_class, optimizer_kwargs = self.get_optimizer_cls_and_kwargs(self.args, trained)
            self.optimizer = optimizer_class(groups, **optimizer_kwargs)
        return super().create_optimizer(model)


def print_on_main_process(training: TrainingArguments, message: str) -> None:
    """Print to standard error, from the main process only."""
    if training.process_index == 0:
        print(message, file=sys.stderr)
