"""Several networks of one kind as one: their logits are averaged.

Shapes: B windows, T minutes, F inputs, M members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


class Ensemble(nn.Module):
    """The mean logit of its members, and their mean return where they have one; it is read like any one of them."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Put ``members`` together; they stay in that order, and so do the sums."""
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def coin(self) -> Any:  # noqa: ANN401  # an embedding, or no attribute at all, as in the members
        """The members' mark that they read all coins and must be told which; absent where they read one."""
        return self.members[0].coin

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logit_B, or logit_B and return_B, from what each member takes."""
        outputs = [member(*inputs) for member in self.members]
        if isinstance(outputs[0], tuple):
            return _mean([output[0] for output in outputs]), _mean([output[1] for output in outputs])
        return _mean(outputs)


def joined_weights(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the flat state of an ensemble from its members' states; of a single member its own, as it is."""
    if len(members) == 1:
        return dict(members[0])
    return {f"members.{number}.{name}": value for number, state in enumerate(members) for name, value in state.items()}


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).mean(dim=0)
