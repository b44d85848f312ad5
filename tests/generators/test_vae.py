"""Likelihoods that integrate to one, bounds that tighten and stay below the truth, networks of every shape."""

from __future__ import annotations

import pytest
import torch

from guardrail.generators.likelihoods import ImageLikelihood, SeriesLikelihood, log_volume, mean_value
from guardrail.generators.priors import Mixture, Normal, log_normal
from guardrail.generators.vae import Vae, VaeOptions
from guardrail.training.contract import Batch
from guardrail.vocabulary.spaces import ImageSpace, SeriesSpace


def test_the_continuous_bernoulli_is_a_density_with_the_mean_it_says():
    x = ((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)[:, None]
    logits = torch.tensor([-30.0, -3.0, -0.011, -0.009, 0.0, 0.009, 0.011, 3.0, 30.0], dtype=torch.float64)
    density = (logits * x - log_volume(logits)).exp()
    assert torch.allclose(density.mean(0), torch.ones(9, dtype=torch.float64), atol=1e-6)
    assert torch.allclose((x * density).mean(0), mean_value(logits), atol=1e-6)


@pytest.mark.parametrize("kind", ["continuous_bernoulli", "gaussian"])
def test_an_images_loss_is_the_sum_of_its_values_losses(kind: str):
    torch.manual_seed(0)
    x, raw = torch.rand(2, 1, 1, 2) * 2 - 1, torch.randn(2, 2)
    both = ImageLikelihood(ImageSpace(1, 1, 2), kind).loss(x, raw)
    one = ImageLikelihood(ImageSpace(1, 1, 1), kind)
    assert torch.allclose(both, one.loss(x[..., :1], raw[:, :1]) + one.loss(x[..., 1:], raw[:, 1:]), atol=1e-6)


def test_values_that_were_not_observed_move_no_loss_and_are_released_as_zero():
    likelihood = SeriesLikelihood(SeriesSpace(("a",), 2, marked=True))
    x = torch.tensor([[[0.3, 1.0], [0.0, -1.0]]])
    raw = torch.tensor([[0.1, 2.0, 0.5, -2.0]])
    moved = raw.clone()
    moved[0, 2] = 9.0
    assert torch.equal(likelihood.loss(x, raw), likelihood.loss(x, moved))
    assert torch.allclose(likelihood.records(raw, None), torch.tensor([[[0.1, 1.0], [0.0, -1.0]]]))


def test_a_mixture_of_equal_normals_is_that_normal():
    mixture = Mixture(3, 4)
    torch.nn.init.zeros_(mixture.table.weight)
    codes = torch.randn(5, 3)
    assert torch.allclose(mixture.log_density(codes), Normal(3).log_density(codes), atol=1e-5)


def test_the_divergence_in_closed_form_is_the_mean_of_the_drawn_one():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.3]])
    codes = mean + (0.5 * log_variance).exp() * torch.randn(200_000, 2)
    drawn = (log_normal(codes, mean, log_variance) - Normal(2).log_density(codes)).mean()
    assert float(drawn) == pytest.approx(float(Normal(2).divergence(codes, mean, log_variance)), abs=0.02)


def test_the_bound_tightens_and_stays_below_what_a_grid_of_codes_gives():
    torch.manual_seed(0)
    vae = Vae(ImageSpace(1, 2, 2), VaeOptions(latent=1, hidden=(8,)))
    batch = Batch.of(torch.rand(6, 1, 2, 2) * 2 - 1)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    prior = Normal(1).log_density(grid)
    logs = [prior - vae.likelihood.loss(x.expand(len(grid), -1, -1, -1), vae.decode(grid, None)) for x in batch.x[:, None]]
    truth = torch.stack([(log.exp().sum() * 16 / 4000).log() for log in logs])
    loose = torch.stack([vae.bound(batch, 1) for _ in range(400)]).mean(0)
    tight = torch.stack([vae.bound(batch, 64) for _ in range(50)]).mean(0)
    assert (loose < truth + 0.02).all() and (tight < truth + 0.02).all()
    assert ((truth - tight) <= (truth - loose) + 0.02).all() and torch.allclose(tight, truth, atol=0.05)


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_every_network_fits_every_size(network: str, size: tuple[int, int], prior: str):
    vae = Vae(ImageSpace(1, *size, conditions=(3,)), VaeOptions(network=network, prior=prior, width=8))
    batch = Batch(torch.rand(4, 1, *size) * 2 - 1, torch.tensor([[0], [1], [2], [0]]))
    assert vae.losses(batch).shape == (4,) and vae.losses(batch).isfinite().all()
    made = vae.sample(4, torch.Generator().manual_seed(0), batch.given)
    assert made.shape == batch.x.shape and made.abs().max() <= 1
    assert set(vae.diagnose(batch)) == {"reconstruction", "divergence"}


def test_an_images_strangeness_is_its_error_to_its_contours():
    """By hand: a decoder that answers grey. One bright pixel has four contours, a bright corner two: the plainer is the stranger."""
    vae = Vae(ImageSpace(1, 4, 4), VaeOptions())
    vae.decode = lambda codes, given: torch.zeros(len(codes), 16)  # type: ignore[method-assign]
    x = torch.full((3, 1, 4, 4), -1.0)
    x[0, 0, 1, 1] = x[1, 0, 0, 0] = 1.0
    torch.testing.assert_close(vae.anomaly_score(Batch.of(x)), torch.tensor([16 / 9, 16 / 5, 16.0]))


def test_a_series_strangeness_is_minus_its_bound():
    vae = Vae(SeriesSpace(("a",), 6), VaeOptions(draws=3))
    batch = Batch.of(torch.rand(4, 6, 1))
    scores = []
    for score in (lambda: vae.anomaly_score(batch), lambda: -vae.bound(batch, 3)):
        torch.manual_seed(0)
        scores.append(score())
    torch.testing.assert_close(*scores)
