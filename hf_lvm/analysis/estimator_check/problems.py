"""Three small latent variable models whose every gradient can be summed exactly.

Each row of a batch has parameters of its own and is one draw of an estimator, so one backward pass gives as many independent
estimates of the gradient as there are rows.

| problem | z | what is hard about it |
|---|---|---|
| `categorical` | one of 40 | the scores have a large offset, which a sampler pays for |
| `autoregressive` | 3 symbols of 5, each depending on the one before | the likelihood is not linear in z |
| `binary` | 6 bits | pairs of bits interact |
"""

import math
from collections.abc import Sequence

import torch
from torch.distributions import Distribution, register_kl

from hf_lvm.distributions import CategoricalVector, Generators
from hf_lvm.distributions.noise import gumbel_of_uniform, uniform_noise


class Problem:
    """A model of one observation: q(z|x), p(x|z) and p(z) as functions of parameters (R, P) in float64.

    Attributes:
        name: what it is called on the command line.
        start: (P,), the parameters at which gradients are compared.
        num_posterior_parameters: the first so many of them are those of q.
    """

    name: str
    start: torch.Tensor
    num_posterior_parameters: int

    def posterior(self, parameters: torch.Tensor) -> Distribution:
        """q(z|x) of each row."""
        raise NotImplementedError

    def prior(self, parameters: torch.Tensor) -> Distribution:
        """p(z) of each row."""
        raise NotImplementedError

    def log_likelihood(self, parameters: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """log p(x|z) in nats of latents (K, R, M), or of points of simplices (K, R, M, C): (K, R)."""
        raise NotImplementedError


def _normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _points(posterior: Distribution, latents: torch.Tensor) -> torch.Tensor:
    """Latents as points of simplices (K, R, M, C), whichever they are."""
    return latents if latents.is_floating_point() else posterior.one_hot(latents)


class CategoricalProblem(Problem):
    """One category of 40, scores of about -8 plus or minus 1 nat, a learned prior."""

    name = "categorical"

    def __init__(self, num_classes: int = 40, offset: float = -8.0):
        self.num_classes = num_classes
        self.start = torch.cat(
            [_normal(num_classes, seed=1), offset + _normal(num_classes, seed=2), 0.3 * _normal(num_classes, seed=3)]
        )
        self.num_posterior_parameters = num_classes

    def posterior(self, parameters):
        return CategoricalVector(parameters[:, None, : self.num_classes])

    def prior(self, parameters):
        return CategoricalVector(parameters[:, None, 2 * self.num_classes :])

    def log_likelihood(self, parameters, latents):
        scores = parameters[:, self.num_classes : 2 * self.num_classes]
        return (_points(self.posterior(parameters), latents).squeeze(-2) * scores).sum(-1)


class BinaryProblem(Problem):
    """Six bits; the score is a quadratic form of them."""

    name = "binary"

    def __init__(self, num_bits: int = 6):
        self.num_bits = num_bits
        self.start = torch.cat([_normal(num_bits, seed=4), 1.5 * _normal(num_bits * num_bits, seed=5), _normal(1, seed=6)])
        self.num_posterior_parameters = num_bits

    def _bits(self, log_odds: torch.Tensor) -> CategoricalVector:
        return CategoricalVector(torch.stack([torch.zeros_like(log_odds), log_odds], dim=-1))

    def posterior(self, parameters):
        return self._bits(parameters[:, : self.num_bits])

    def prior(self, parameters):
        return self._bits(parameters[:, -1:].expand(-1, self.num_bits))

    def log_likelihood(self, parameters, latents):
        bits = _points(self.posterior(parameters), latents)[..., 1]
        form = parameters[:, self.num_bits : -1].unflatten(-1, (self.num_bits, self.num_bits))
        return torch.einsum("krm,rmn,krn->kr", bits, form, bits) / self.num_bits - 5.0


class AutoregressiveProblem(Problem):
    """Three symbols of five; a reader of one hidden layer scores them. The prior is uniform.

    Args:
        closed_form_kl: whether the KL divergence is summed over the chain, or left to be a part of the score.
    """

    name = "autoregressive"

    def __init__(self, num_symbols: int = 5, length: int = 3, hidden_size: int = 8, closed_form_kl: bool = True):
        self.num_symbols, self.length, self.hidden_size = num_symbols, length, hidden_size
        self.closed_form_kl = closed_form_kl
        self.num_posterior_parameters = num_symbols + num_symbols * num_symbols
        self.start = torch.cat([_normal(self.num_posterior_parameters, seed=7), 2.0 * _normal(hidden_size, seed=8)])
        self.reader = _normal(length * num_symbols, hidden_size, seed=9)

    def posterior(self, parameters):
        first, following = parameters.split([self.num_symbols, self.num_symbols * self.num_symbols, self.hidden_size], dim=-1)[
            :2
        ]
        chain = SymbolChain if self.closed_form_kl else SampledSymbolChain
        return chain(first, following.unflatten(-1, (self.num_symbols, self.num_symbols)), self.length)

    def prior(self, parameters):
        uniform = parameters.new_zeros(parameters.shape[0], self.num_symbols)
        return SymbolChain(uniform, uniform.unsqueeze(1).expand(-1, self.num_symbols, -1), self.length)

    def log_likelihood(self, parameters, latents):
        points = _points(self.posterior(parameters), latents).flatten(-2)
        hidden = torch.tanh(points @ self.reader)
        return (hidden * parameters[:, -self.hidden_size :]).sum(-1) - 3.0


PROBLEMS: dict[str, type[Problem]] = {
    problem.name: problem for problem in (CategoricalProblem, AutoregressiveProblem, BinaryProblem)
}


class SymbolChain(Distribution):
    """An autoregressive q over short symbol sequences: each symbol depends on the one before.

    Args:
        first: (R, C), logits of the first symbol.
        following: (R, C, C), logits of the next symbol [after, next].
        length: M.
    """

    arg_constraints = {}
    has_enumerate_support = True

    def __init__(self, first: torch.Tensor, following: torch.Tensor, length: int):
        self.first, self.following, self.length = first.log_softmax(-1), following.log_softmax(-1), length
        super().__init__(first.shape[:1], torch.Size([length]), validate_args=False)

    @property
    def num_symbols(self) -> int:
        """C."""
        return self.first.shape[-1]

    @property
    def support_size(self) -> int:
        """C^M."""
        return self.num_symbols**self.length

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        first = self.first.expand(*value.shape[:-1], -1).gather(-1, value[..., :1]).squeeze(-1)
        following = self.following.flatten(1).expand(*value.shape[:-1], -1)
        steps = value[..., :-1] * self.num_symbols + value[..., 1:]
        return first + following.gather(-1, steps).sum(-1)

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        symbols = torch.arange(self.num_symbols)
        values = torch.cartesian_prod(*[symbols] * self.length).unsqueeze(1)
        return values.expand(-1, self.batch_shape[0], -1) if expand else values

    def _log_probs_of_all(self) -> torch.Tensor:
        return self.log_prob(self.enumerate_support()).T  # (R, S)

    @property
    def mode(self) -> torch.Tensor:
        """The symbol that is most probable at each step, given those before it: (R, M)."""
        symbols = [self.first.argmax(-1)]
        for _ in range(1, self.length):
            symbols.append(self._next(symbols[-1]).argmax(-1))
        return torch.stack(symbols, dim=-1)

    def _next(self, symbol: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (..., R, C) of what follows symbols (..., R)."""
        return self.following.gather(1, symbol.view(-1, 1, 1).expand(-1, 1, self.num_symbols)).view(*symbol.shape, -1)

    def _gumbels(self, sample_shape: Sequence[int], generator: Generators) -> torch.Tensor:
        shape = (self.length, self.num_symbols)
        return gumbel_of_uniform(
            uniform_noise(sample_shape, self.batch_shape[0], shape, generator=generator, dtype=self.first.dtype)
        )

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        with torch.no_grad():
            gumbels = self._gumbels(sample_shape, generator)
            points = self._steps(gumbels, lambda perturbed: self.one_hot(perturbed.argmax(-1)))
            return points.argmax(-1)

    def relaxed_sample(self, temperature, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None):
        """Points of simplices (*sample_shape, R, M, C); each step reads the mixture of symbols that the last one drew."""
        return self._steps(self._gumbels(sample_shape, generator), lambda perturbed: (perturbed / temperature).softmax(-1))

    def _steps(self, gumbels: torch.Tensor, choose) -> torch.Tensor:
        points = [choose(self.first + gumbels[..., 0, :])]
        for step in range(1, self.length):
            logits = torch.einsum("...rc,rcd->...rd", points[-1], self.following)
            points.append(choose(logits + gumbels[..., step, :]))
        return torch.stack(points, dim=-2)

    def one_hot(self, value: torch.Tensor) -> torch.Tensor:
        """Values (..., R, M) as corners of simplices (..., R, M, C)."""
        return torch.nn.functional.one_hot(value, self.num_symbols).to(self.first.dtype)

    def top_k(self, count: int) -> torch.Tensor:
        """The `count` most probable values of each row, best first: (count, R, M)."""
        with torch.no_grad():
            best = self._log_probs_of_all().topk(min(count, self.support_size), dim=1).indices
            return self.enumerate_support(expand=False).squeeze(1)[best.T]

    def sample_excluding(
        self, excluded: torch.Tensor, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> torch.Tensor:
        """Samples (*sample_shape, R, M) of the values besides the excluded ones (K, R, M)."""
        with torch.no_grad():
            powers = self.num_symbols ** torch.arange(self.length - 1, -1, -1)
            log_probs = self._log_probs_of_all().scatter(1, (excluded * powers).sum(-1).T, -math.inf)
            noise = uniform_noise(
                sample_shape, self.batch_shape[0], (self.support_size,), generator=generator, dtype=self.first.dtype
            )
            return self.enumerate_support(expand=False).squeeze(1)[(log_probs + gumbel_of_uniform(noise)).argmax(-1)]


class SampledSymbolChain(SymbolChain):
    """The same, without a KL divergence in closed form."""


@register_kl(SymbolChain, SymbolChain)
def _kl(posterior: SymbolChain, prior: SymbolChain) -> torch.Tensor:
    """Step by step, with the probability of each symbol to be the one before."""
    if isinstance(posterior, SampledSymbolChain):
        raise NotImplementedError
    reached = posterior.first.exp()
    divergence = (reached * (posterior.first - prior.first)).sum(-1)
    for _ in range(1, posterior.length):
        steps = reached.unsqueeze(-1) * posterior.following.exp()
        divergence = divergence + (steps * (posterior.following - prior.following)).flatten(1).sum(-1)
        reached = steps.sum(1)
    return divergence
