"""What the log-partition of a linear chain and its gradient, the marginals, cost beside torch-struct.

ours:    LinearChainCRF(transitions, unary).log_partition.sum().backward().
theirs:  LinearChainCRF(log_potentials).partition.sum().backward() of torch-struct 0.5, which takes one table of potentials
         for each row and position, (B, n-1, C to, C from): from other scores it is made inside the timed step.
plain:   the forward algorithm as one logsumexp a position, with its gradient by autograd; only printed, without a target.

Both make the same gradients from the same scores in float32; that they agree is checked before anything is timed. Rows
differ in the scores: a table of transitions for each row and position, or one for all of them and unary scores beside it,
as in a hidden Markov model. Needs `pip install --no-deps torch-struct==0.5`.
"""

import importlib.metadata
from collections.abc import Callable

import torch
from paired_timing import Comparison, add_threads, argument_parser, interleaved, run_comparisons

from hf_lvm.distributions.linear_chain import LinearChainCRF

BATCH_SIZE, LENGTH, STATES = 64, 40, 32
PEER, PEER_VERSION = "torch-struct", "0.5"
LogPartition = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def import_peer():
    """torch-struct, or an error that says how to get it."""
    try:
        version = importlib.metadata.version(PEER)
        import torch_struct
    except ImportError as error:
        raise SystemExit(
            f"{PEER} is not installed ({error}): it is what this benchmark compares with. Install it with `pip install "
            f"--no-deps {PEER}=={PEER_VERSION}`."
        ) from error
    if version != PEER_VERSION:
        raise SystemExit(f"{PEER} is {version}, and this benchmark compares with {PEER_VERSION}: install that version.")
    return torch_struct


def scores() -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
    """Transitions and unary scores of each row of the table."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(BATCH_SIZE, LENGTH - 1, STATES, STATES, generator=generator)
    shared = torch.randn(STATES, STATES, generator=generator)
    unary = torch.randn(BATCH_SIZE, LENGTH, STATES, generator=generator)
    rows = {"transitions (B, n-1, C, C)": (own, None), "transitions (C, C), unary (B, n, C)": (shared, unary)}
    for tensors in rows.values():
        for tensor in tensors:
            if tensor is not None:
                tensor.requires_grad_()
    return rows


def ours(transitions: torch.Tensor, unary: torch.Tensor | None) -> torch.Tensor:
    return LinearChainCRF(transitions, unary).log_partition


def plain(transitions: torch.Tensor, unary: torch.Tensor | None) -> torch.Tensor:
    state = torch.zeros(BATCH_SIZE, STATES) if unary is None else unary[:, 0]
    for t in range(1, LENGTH):
        between = transitions if transitions.dim() == 2 else transitions[:, t - 1]
        state = torch.logsumexp(state.unsqueeze(-1) + between, dim=-2)
        if unary is not None:
            state = state + unary[:, t]
    return torch.logsumexp(state, dim=-1)


def theirs(torch_struct) -> LogPartition:
    def log_partition(transitions: torch.Tensor, unary: torch.Tensor | None) -> torch.Tensor:
        potentials = transitions.transpose(-1, -2)
        if unary is not None:
            potentials = potentials + unary[:, 1:].unsqueeze(-1)
            first = potentials[:, :1] + unary[:, :1].unsqueeze(-2)
            potentials = torch.cat([first, potentials[:, 1:]], dim=1)
        return torch_struct.LinearChainCRF(potentials).partition

    return log_partition


def step(log_partition: LogPartition, tensors: tuple[torch.Tensor, torch.Tensor | None]) -> Callable[[], None]:
    def run() -> None:
        for tensor in tensors:
            if tensor is not None:
                tensor.grad = None
        log_partition(*tensors).sum().backward()

    return run


def check_same(one: LogPartition, other: LogPartition, tensors: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Both compute the same log-partition and leave the same gradients."""
    torch.testing.assert_close(one(*tensors), other(*tensors), rtol=1e-5, atol=1e-3)
    gradients = []
    for log_partition in (one, other):
        step(log_partition, tensors)()
        gradients.append([tensor.grad for tensor in tensors if tensor is not None])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def measure(torch_struct, num_pairs: int) -> list[Comparison]:
    comparisons = []
    for name, tensors in scores().items():
        for peer, log_partition, at_most in ((f"{PEER} {PEER_VERSION}", theirs(torch_struct), 1.0), ("plain", plain, None)):
            check_same(ours, log_partition, tensors)
            pairs = interleaved(step(ours, tensors), step(log_partition, tensors), num_pairs)
            comparisons.append(Comparison(name, peer, "s", pairs, at_most=at_most))
    return comparisons


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=9)
    add_threads(parser)
    arguments = parser.parse_args()
    torch_struct = import_peer()
    shapes = {"batch_size": BATCH_SIZE, "length": LENGTH, "states": STATES, "dtype": "float32"}
    run_comparisons(arguments, lambda pairs: measure(torch_struct, pairs), shapes, peers={PEER: PEER_VERSION})


if __name__ == "__main__":
    main()
