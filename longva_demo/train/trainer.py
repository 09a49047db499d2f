"""transformers' Trainer for rows with images: loss on labelled tokens only, separate rate for the vision tower."""

import sys
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from longva_demo.train.rows import IGNORED

TOWER = "vision_tower."


class LongVATrainer(Trainer):
    """Computes logits only at labelled positions: those of all positions would fill the memory."""

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
        """Mean over all labelled tokens of a step, independent of how rows, accumulation and processes divide them."""
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        targets = torch.cat([labels[:, 1:], labels.new_full((1, 1), IGNORED)], dim=1)  # (1, T)
        places = (targets[0] != IGNORED).nonzero()[:, 0]
        outputs = model(**inputs, logits_to_keep=places)
        loss = torch.nn.functional.cross_entropy(outputs.logits[0].float(), targets[0, places], reduction="sum")
        count = num_items_in_batch if num_items_in_batch is not None else len(places)
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
