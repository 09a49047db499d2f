"""transformers' Trainer for rows with pictures: the loss where there are labels, and an own rate for the eyes."""

import sys
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from longva_demo.train.rows import IGNORED

TOWER = "vision_tower."


class LongVATrainer(Trainer):
    """Logits are computed only where there is something to learn: those of all positions would fill the memory."""

    def __init__(
        self, model: PreTrainedModel, training: TrainingArguments, data: Dataset, vision_tower_lr: float | None = None
    ) -> None:
        training.remove_unused_columns = False
        training.label_names = ["labels"]
        super().__init__(model, training, train_dataset=data, data_collator=lambda rows: rows[0])
        self._vision_tower_lr = vision_tower_lr

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over all labelled tokens of the step, whatever the number of rows, steps and processes they are in."""
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        targets = torch.cat([labels[:, 1:], labels.new_full((1, 1), IGNORED)], dim=1)  # (1, T)
        places = (targets[0] != IGNORED).nonzero()[:, 0]
        outputs = model(**inputs, logits_to_keep=places)
        loss = torch.nn.functional.cross_entropy(outputs.logits[0].float(), targets[0, places], reduction="sum")
        count = num_items_in_batch if num_items_in_batch is not None else len(places)
        loss = loss / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over the processes
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """As Trainer's; the vision tower's parameters are a group with a rate of their own."""
        if self.optimizer is None and self._vision_tower_lr is not None:
            trained: Any = model if model is not None else self.model
            named = [(name, one) for name, one in trained.named_parameters() if one.requires_grad]
            eyes = [one for name, one in named if TOWER in name]
            groups: list[dict[str, Any]] = [{"params": [one for name, one in named if TOWER not in name]}]
            groups += [{"params": eyes, "lr": self._vision_tower_lr}] if eyes else []
            kind, values = self.get_optimizer_cls_and_kwargs(self.args, trained)
            self.optimizer = kind(groups, **values)
        return super().create_optimizer(model)


def say_on_first(training: TrainingArguments, line: str) -> None:
    """A line on standard error, once for all processes."""
    if training.process_index == 0:
        print(line, file=sys.stderr)
