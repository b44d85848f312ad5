"""The optimizer of a player, and what it remembers: so that a training can go on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .contract import Player, Recipe


def optimizer_of(player: Player, recipe: Recipe) -> torch.optim.Optimizer:
    """Over what the player trains, at its own pace."""
    parameters = [parameter for parameter in player.parameters() if parameter.requires_grad]
    rate, decay = recipe.learning_rate * player.pace, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=recipe.betas[0], weight_decay=decay)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, alpha=recipe.betas[1], weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimizer remembers of earlier gradients, as `<weight's number>.<key>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value for index, moments in state.items() for key, value in moments.items() if isinstance(value, torch.Tensor)
    }


def put_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, torch.Tensor]) -> None:
    """Rates and betas stay the plan's."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in moments.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
