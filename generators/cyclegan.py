"""CycleGAN: translation between two styles from unpaired images (Zhu et al. 2017, https://arxiv.org/abs/1703.10593).

Two translators, each with a critic of the style it paints in. Every record concerns all four: a translator is to fool its
critic with a record of the other style, to bring it back (the cycle), and to leave one of its own style as it is. Nothing is
made from noise and no record is kept, so there is no `sample`. The translators start out as the identity, where the paper's
absolute errors have a kink that holds them; squared errors let them go.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch, Generator, Player, Recipe, Rival
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .unet import group_norm

SMALLEST = 8


class CycleganOptions(Frozen):
    width: int = Field(default=16, gt=0, description="channels of the translators, and of the critics' first layer")
    blocks: int = Field(default=2, ge=0, description="residual blocks of a translator")
    cycle: float = Field(default=2.0, ge=0, description="weight of coming back after both translations (mean squared error)")
    identity: float = Field(default=0.5, ge=0, description="weight of leaving a record of its own style as it is (mean squared error)")


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), group_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class Translator(nn.Module):
    """Images -> images: what is to change is added to the image, at first almost nothing. Works at half resolution, for speed."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(channels, width, 4, 2, 1)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.end = nn.Conv2d(width, channels, 5, padding=2)
        nn.init.normal_(self.end.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        height, wide = x.shape[-2:]
        inner = self.blocks(self.start(F.pad(x, (0, wide % 2, 0, height % 2))))
        change = self.end(F.interpolate(inner.relu(), scale_factor=2))  # a transposed convolution leaves a checked pattern
        result: Tensor = x + change[..., :height, :wide]
        return result


def critic(channels: int, width: int) -> nn.Sequential:
    """Images -> a map of scores, one per patch: 1 where it looks like the style, 0 where not."""
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, 2 * width, 4, 2, 1), group_norm(2 * width), nn.LeakyReLU(0.2)),
        nn.Conv2d(2 * width, 1, 3, padding=1),
    )


def mean_of(errors: Tensor) -> Tensor:
    """(records, ...) -> (records,)"""
    return errors.flatten(1).mean(1)


class Into(Player):
    """The translator into one style. A record of the other style is translated and back; one of its own, back and translated."""

    def __init__(self, style: int, network: nn.Module, back: nn.Module, judge: nn.Module, options: CycleganOptions) -> None:
        super().__init__()
        self.network, self._style, self._options = network, style, options
        self._back, self._judge = Rival(back), Rival(judge)

    def losses(self, batch: Batch) -> Tensor:
        """Both styles' losses of every record, of which its own counts: layers that see whole batches can be clipped in one pass."""
        x, own = batch.x, batch.given[:, 0] == self._style
        painted = self.network(x)
        with torch.no_grad():
            there = self._back(x)
        returned, kept = mean_of((self.network(there) - x).square()), mean_of((painted - x).square())
        fooled, cycled = mean_of((self._judge(painted) - 1).square()), mean_of((self._back(painted) - x).square())
        weights = self._options
        return torch.where(own, weights.cycle * returned + weights.identity * kept, fooled + weights.cycle * cycled)


class Judge(Player):
    """The critic of one style, by least squares: 1 for a record of it, 0 for a translated record of the other."""

    def __init__(self, style: int, network: nn.Module, painter: nn.Module) -> None:
        super().__init__()
        self.network, self._style, self._painter = network, style, Rival(painter)

    def losses(self, batch: Batch) -> Tensor:
        own = batch.given[:, 0] == self._style
        shown = torch.where(own[:, None, None, None], batch.x, self._painter(batch.x).detach())
        return mean_of((self.network(shown) - own[:, None, None, None].to(shown.dtype)).square())


class Cyclegan(Generator):
    spaces = ("image",)
    Options = CycleganOptions
    plain = Recipe(epochs=12, sample_rate=0.02, batch_size=16, learning_rate=0.002, betas=(0.5, 0.999), average=0.99, schedule="linear")
    private = Recipe(epochs=30, sample_rate=0.05, learning_rate=0.001, betas=(0.5, 0.999), average=0.98, schedule="linear", clip=0.5)

    def __init__(self, space: ImageSpace, options: CycleganOptions) -> None:
        super().__init__(space, options)
        if space.conditions != (2,):
            raise SpecError(
                f"cyclegan translates between two styles, and the data's conditions have {space.conditions or 'no'} classes; "
                "let `data.target` name a column with exactly two classes, the style of each image"
            )
        if min(space.height, space.width) < SMALLEST:
            raise SpecError(f"images of {space.height}x{space.width} pixels are too small for cyclegan; use at least {SMALLEST}x{SMALLEST}")
        self.conditional = True
        translators = [Translator(space.channels, options.width, options.blocks) for _ in range(2)]
        critics = [critic(space.channels, options.width) for _ in range(2)]
        self.into = nn.ModuleList(Into(i, translators[i], translators[1 - i], critics[i], options) for i in range(2))
        self.judges = nn.ModuleList(Judge(i, critics[i], translators[i]) for i in range(2))

    def players(self) -> Mapping[str, Player]:
        named = {f"{kind}_{i}": part for kind, parts in (("critic", self.judges), ("into", self.into)) for i, part in enumerate(parts)}
        return {name: part for name, part in named.items() if isinstance(part, Player)}

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        """Raises: Unsupported: there is no noise to start from; see `translate`."""
        raise self._cannot("sample", "make records from noise, only translate given ones (`guardrail translate`)")

    @torch.no_grad()
    def translate(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Each record in the style that is not its own. Draws nothing."""
        return self._there(batch.x, batch.given[:, 0]).clamp(-1, 1)

    def conditions_of_translated(self, given: Tensor) -> Tensor:
        return 1 - given

    @torch.no_grad()
    def diagnose(self, batch: Batch) -> dict[str, float]:
        """`cycle_error`: mean absolute error after both translations; `change`: how far one translation moves a record."""
        style = batch.given[:, 0]
        there = self._there(batch.x, style)
        back = self._there(there, 1 - style)
        return {"cycle_error": float((back - batch.x).abs().mean()), "change": float((there - batch.x).abs().mean())}

    def _there(self, x: Tensor, style: Tensor) -> Tensor:
        result = torch.empty_like(x)
        for i in range(2):
            result[style == i] = self.into[1 - i].get_submodule("network")(x[style == i])
        return result
