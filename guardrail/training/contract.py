"""What a generator offers the loop, and all the loop knows about it.

A `Player` is one network in the training game. It gives one loss per record and owns no loop: it cannot tell whether the
losses are averaged (plain), clipped and noised (private) or computed at a client (federated). A generator without players
(marginals, a Markov chain, a hidden Markov model) learns from counts alone, and the strategy decides whether those are exact
or noisy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..vocabulary.errors import Unsupported
from ..vocabulary.frozen import Frozen
from ..vocabulary.plugins import table
from ..vocabulary.spaces import SpaceKind


@dataclass(frozen=True)
class Batch:
    """Records in a generator's space, each with its conditions. Indexed, split and moved like a tensor."""

    x: Tensor
    """(records, ...) in the generator's space."""
    given: Tensor
    """(records, conditions) int64; no columns where nothing is known beside the content."""

    @classmethod
    def of(cls, x: Tensor, given: Tensor | None = None) -> Batch:
        return cls(x, torch.zeros(len(x), 0, dtype=torch.int64, device=x.device) if given is None else given)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Batch:
        """The records of a mask, a slice or indices."""
        return Batch(self.x[index], self.given[index])

    def split(self, size: int) -> Iterator[Batch]:
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device) -> Batch:
        return Batch(self.x.to(device), self.given.to(device))

    @property
    def device(self) -> torch.device:
        return self.x.device


class Recipe(Frozen):
    """How a family is trained unless the spec says otherwise; chosen on public data, never on the user's."""

    epochs: int = Field(gt=0)
    sample_rate: float = Field(gt=0, le=1)
    """Share of the records per step. Under privacy it keeps the record count out of the plan."""
    batch_size: int | None = Field(default=None, gt=0)
    """In plain training, at most this many records per step; under privacy, so many in expectation in place of `sample_rate`."""
    learning_rate: float = Field(gt=0)
    clip: float = Field(default=1.0, gt=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0: the last weights."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    """Of adam and adamw; sgd takes the first as its momentum."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises to its full height."""
    max_norm: float | None = Field(default=None, gt=0)
    """Plain training: bound on the norm of a step's gradient."""


class Player(nn.Module):
    """One network in the training game. Its parameters are all that its turn changes: it refers to another player's network,
    where its loss needs one, without owning it (see `Rival`)."""

    sees_records: ClassVar[bool] = True
    turns: int = 1
    """Optimizer steps, each on a batch of its own, to one step of the game: a critic may take several."""
    pace: float = 1.0
    """Factor on the recipe's learning rate."""
    second_order: bool = False
    """Whether its losses contain a gradient of its own network, a slope that is penalised."""

    mixes_records: str = ""
    """Why one record moves another's loss, where an option wants it so: such a player is refused under privacy, by these words."""

    @abstractmethod
    def losses(self, batch: Batch) -> Tensor:
        """(records,): one loss per record, which no other record moves. Draws (latent codes, noise) come from torch's generator."""

    def free_loss(self, n: int) -> Tensor | None:
        """The part of the loss that reads no record, for `n` records' worth: neither clipped nor noised."""
        return None

    def before_step(self, progress: float) -> None:
        """Told before each of its steps which share of the training lies behind, 0 … 1: for what grows or fades by plan."""

    def after_step(self) -> None:
        """Post-processing of the weights (a projection), free of privacy cost."""


class Rival:
    """A network that a player's loss passes through and that is not the player's to train."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, *arguments: Any) -> Any:
        """With its weights as constants, so that no gradient is computed for them."""
        constants = {name: parameter.detach() for name, parameter in self._network.named_parameters()}
        return torch.func.functional_call(self._network, constants, arguments)


@dataclass(frozen=True)
class Runs:
    """Will ask once for `ngrams(order, period)`."""

    order: int
    period: int


@dataclass(frozen=True)
class Sums:
    """Will ask `times` times for a `total`, of a statistic whose row has an L2 norm of at most `norm` for every record."""

    what: str
    norm: float
    times: int = 1


Question = Runs | Sums


class Counts(Protocol):
    """Closed-form questions a generator may ask about the records. The strategy answers, exactly or with charged noise."""

    noisy: bool
    """Whether answers carry noise: then runs may come back shorter than asked for, and no question may be asked that
    `Generator.asks` does not announce."""

    def one_way(self) -> tuple[np.ndarray, ...]:
        """Per position of the token space the share of each token, (tokens,) float64, positive, summing to 1."""
        ...

    def conditions(self) -> tuple[np.ndarray, ...]:
        """The same for each condition: the shares of the classes."""
        ...

    def ngrams(self, order: int, period: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """How often each run of `order + 1` tokens occurs at each place: its last token's position modulo `period`.

        A record's beginning is padded by the size of the (largest) vocabulary, its end counts once. Where every position has a
        vocabulary of its own, `period` is their number. Runs that occur, ascending, (runs, 1 + order + 1) int64: the place, then
        the tokens; and counts (runs,).
        """
        ...

    def total(self, statistic: Callable[[Batch], Tensor]) -> Tensor:
        """The sum over all records of a statistic that is given batches and returns one row per record, (records, m)."""
        ...


class Generator(nn.Module):
    """A family of models. What a family cannot do (the methods below that it leaves alone) it refuses by name."""

    spaces: ClassVar[tuple[SpaceKind, ...]]
    """Where it can live, the best first; it gets the first that the data's codec offers."""
    plain: Recipe
    """Of the family; a model may have one of its own where its space asks for another, set in `__init__`."""
    private: Recipe | None
    """The same under privacy. None: not to be trained privately yet."""
    Options: ClassVar[type[Frozen]]
    conditional: bool = False
    """Whether this model uses the conditions: set in `__init__` where the space has some and the family can."""
    fills_unclassed: ClassVar[bool] = False
    """Whether `complete` of a conditional model also takes records whose conditions nobody knows (`given` without columns)."""

    @abstractmethod
    def __init__(self, space: Any, options: Any) -> None:
        """`space`: one of the family's spaces. Draws initial weights from torch's generator, which the caller seeds."""
        super().__init__()

    def asks(self) -> tuple[Question, ...]:
        """What `initialise` will ask of noisy counts, besides shares of tokens and classes, in this order: known from space and
        options alone, so that it is paid for before the records are read."""
        return ()

    def initialise(self, counts: Counts) -> None:
        """What can be learned in closed form before the first step."""

    def players(self) -> Mapping[str, Player]:
        """The networks to train, in the order of their turns; empty for closed-form families."""
        return {}

    @abstractmethod
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        """`n` records of the space, drawn from `rng` alone.

        Args:
            given: (n, conditions) int64, always there when the model is `conditional` and never when it is not.
        """

    def log_likelihood(self, batch: Batch) -> Tensor:
        """(records,): log-probability in nats; a density where the space is continuous; a lower bound where the family says so."""
        raise self._cannot("log_likelihood", "have a likelihood")

    def anomaly_score(self, batch: Batch) -> Tensor:
        """(records,): higher is stranger. Minus the log-likelihood, unless the family has better."""
        return -self.log_likelihood(batch)

    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """Records like `batch.x` in which what is `known` (bool, the shape of x; for vectors whole blocks) stays and the rest is drawn."""
        raise self._cannot("impute", "fill in what is missing")

    def translate(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Each record in the other style, or the target that belongs to its source."""
        raise self._cannot("translate", "translate")

    def conditions_of_translated(self, given: Tensor) -> Tensor:
        """(n, conditions): those of the records that `translate` makes of records with these."""
        return given

    def latent(self, batch: Batch) -> Tensor:
        """(records, dimensions): the code of each record."""
        raise self._cannot("latent", "have latent codes")

    def draw_latent(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, dimensions): codes drawn from the prior."""
        raise self._cannot("interpolate", "have latent codes")

    def from_latent(self, codes: Tensor, given: Tensor | None = None) -> Tensor:
        """Records of the space for latent codes, without noise: for interpolation and traversal."""
        raise self._cannot("latent", "have latent codes")

    def explain(self, batch: Batch) -> dict[str, Tensor]:
        """What the model looked at, by name (attention maps, the path of hidden states), one row per record."""
        raise self._cannot("explain", "explain themselves")

    def diagnose(self, batch: Batch) -> dict[str, float]:
        """Numbers for the monitor that the loss does not tell: reconstruction and divergence apart, the critic's win rate."""
        return {}

    def game_value(self, batch: Batch) -> Tensor:
        """Scalar: the value of the zero-sum game at the present weights, which players that see records raise and others lower."""
        raise self._cannot("game_value", "play a zero-sum game")

    def _cannot(self, ability: str, what: str) -> Unsupported:
        able = sorted(name for name, entry in table("generators").items() if ability in entry.abilities)
        others = f"families that can: {', '.join(able)}" if able else "no family can"
        return Unsupported(f"models of the family {type(self).__name__} do not {what}; {others}")


def parameter_count(generator: Generator) -> int:
    return sum(parameter.numel() for parameter in generator.parameters())
