"""Muon for matrices and AdamW for the rest, in float32: bfloat16 is slow on CPUs without hardware support."""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration on a stack (n, rows, columns): singular values become about 1 (Jordan et al., 2024)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum. Updates are scaled to the size of AdamW's, so that both share a learning rate."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.01) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    matrix = parameter.grad.flatten(1)
                    stacks[(matrix.shape[0], matrix.shape[1])].append(parameter)
            for (rows, columns), members in stacks.items():
                directions = torch.stack([self._direction(member, group["momentum"]) for member in members])
                updates = orthogonalise(directions) * (0.2 * math.sqrt(max(rows, columns)))
                for member, update in zip(members, updates, strict=True):
                    member.mul_(1 - group["lr"] * group["weight_decay"])
                    member.add_(update.view_as(member), alpha=-group["lr"])

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        average = state["average"]
        average.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum).flatten(1)


class Optimiser:
    """Both optimisers with one learning-rate schedule: short warm-up, constant, then linear decay to zero."""

    def __init__(
        self,
        modules: Iterable[nn.Module],
        lr: float,
        steps: int,
        decay_share: float = 0.4,
        vector_share: float = 1.0,
    ) -> None:
        """`vector_share`: AdamW's learning rate (embeddings, norms, biases) as a share of `lr`."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for module in modules:
            for name, parameter in module.named_parameters():
                is_matrix = parameter.ndim >= 2 and "embed_tokens" not in name and "position_embedding" not in name
                (matrices if is_matrix else others).append(parameter)
        self.parameters = matrices + others
        self.both = (Muon(matrices, lr), torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=0.0))
        self.lr, self.steps, self.decay_share, self.vector_share = lr, steps, decay_share, vector_share
        self.done = 0

    def rate(self) -> float:
        decay = (self.steps - self.done) / max(1.0, self.steps * self.decay_share)
        return self.lr * min(1.0, (self.done + 1) / min(100, self.steps), max(0.0, decay))

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        rate = self.rate()
        for optimiser, share in zip(self.both, (1.0, self.vector_share), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.done += 1

    def state_dict(self) -> dict[str, object]:
        return {"both": [optimiser.state_dict() for optimiser in self.both], "done": self.done}

    def load_state_dict(self, state: dict[str, object]) -> None:
        for optimiser, saved in zip(self.both, state["both"], strict=True):  # type: ignore[call-overload]
            optimiser.load_state_dict(saved)
        self.done = state["done"]  # type: ignore[assignment]
