"""Random chains in float64, and the same chains with every sequence of a row written down."""

import torch

from hf_lvm.distributions.linear_chain import LinearChainCRF


def random_chain(
    batch: int = 3,
    length: int = 4,
    states: int = 3,
    *,
    shared: bool = False,
    ragged: bool = False,
    lengths: torch.Tensor | None = None,
    forbidding: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> LinearChainCRF:
    """With a gradient to its scores; where it forbids, one sequence at least is left."""
    generator = torch.Generator().manual_seed(seed)
    shape = (states, states) if shared else (batch, length - 1, states, states)
    transitions = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    unary = scale * torch.randn(batch, length, states, generator=generator, dtype=torch.float64)
    if ragged and lengths is None:
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    if forbidding:
        allowed, positions = torch.randint(states, (length,), generator=generator), torch.arange(length)
        no_edge, no_state = (torch.rand(scores.shape, generator=generator) < 0.25 for scores in (transitions, unary))
        no_edge[(allowed[:-1], allowed[1:]) if shared else (slice(None), positions[:-1], allowed[:-1], allowed[1:])] = False
        no_state[:, positions, allowed] = False
        transitions, unary = transitions.masked_fill(no_edge, -torch.inf), unary.masked_fill(no_state, -torch.inf)
    return LinearChainCRF(transitions.requires_grad_(), unary.requires_grad_(), lengths)


def row_lengths(chain: LinearChainCRF) -> list[int]:
    (batch,), (length,) = chain.batch_shape, chain.event_shape
    return [length] * batch if chain.lengths is None else chain.lengths.tolist()


def all_paths(chain: LinearChainCRF, row: int) -> torch.Tensor:
    """Every sequence of a row: (P, length of the row)."""
    states = torch.arange(chain.num_states)
    return torch.cartesian_prod(*[states] * row_lengths(chain)[row]).view(-1, row_lengths(chain)[row])


def path_scores(chain: LinearChainCRF, row: int) -> torch.Tensor:
    """Of `all_paths`: (P,), differentiable."""
    paths = all_paths(chain, row)
    scores = chain.unary[row, 0, paths[:, 0]]
    for t in range(1, paths.shape[1]):
        between = chain.transitions if chain.transitions.dim() == 2 else chain.transitions[row, t - 1]
        scores = scores + between[paths[:, t - 1], paths[:, t]] + chain.unary[row, t, paths[:, t]]
    return scores


def padded(paths: torch.Tensor, length: int, value: int = 0) -> torch.Tensor:
    return torch.nn.functional.pad(paths, (0, length - paths.shape[-1]), value=value)


def expected(probability: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The sum over sequences with 0 * inf = 0."""
    possible = probability > 0
    return (probability[possible] * values[possible]).sum()


def gradients(value: torch.Tensor, *chains: LinearChainCRF) -> list[torch.Tensor]:
    """Of the sum of `value` in all scores."""
    scores = [tensor for chain in chains for tensor in (chain.transitions, chain.unary)]
    return torch.autograd.grad(value.sum(), scores, retain_graph=True, allow_unused=True, materialize_grads=True)
