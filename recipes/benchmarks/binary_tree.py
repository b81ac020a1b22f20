"""What the sums and samples of binary trees cost beside torch-struct, in time and in memory.

ours:    BinaryTreeCRF(scores): log_partition and marginals; sample((8,)).
theirs:  TreeCRF(scores) of torch-struct 0.5: partition and marginals; sample((8,)). Its marginals are a gradient of a second
         partition, so a row without a target compares with one partition and its gradient, which gives both at once.

Both compute the same from the same scores in float32; that the sums agree is checked before anything is timed. Samples are 8
of each of 16 sentences, 128 trees.

memory:  what the log-partition and its gradient add to the resident size of a process of its own at its peak, after a small
         one has loaded all code: VmHWM less VmRSS before, of /proc/self/status, so on Linux only. (getrusage would not do: a
         process inherits that peak from the one that started it.) Each pair is two fresh processes.

Needs `pip install --no-deps torch-struct==0.5`.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from linear_chain import PEER, PEER_VERSION, import_peer
from paired_timing import Comparison, add_threads, argument_parser, interleaved, run_comparisons

from hf_lvm.distributions import BinaryTreeCRF

LENGTH, SUM_BATCH, SAMPLE_BATCH, NUM_SAMPLES = 40, 128, 16, 8
MEMORY_BATCH, MEMORY_LENGTH, MEMORY_PAIRS, MEMORY_LIMIT = 64, 256, 5, 250.0
Sums = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def scores(batch_size: int, length: int) -> torch.Tensor:
    return torch.randn(batch_size, length, length, generator=torch.Generator().manual_seed(0))


def ours(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    trees = BinaryTreeCRF(values)
    return trees.log_partition, trees.marginals


def theirs(torch_struct) -> Sums:
    def sums(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        trees = torch_struct.TreeCRF(values.unsqueeze(-1))
        return trees.partition, trees.marginals.squeeze(-1)

    return sums


def with_gradient(log_partition: Callable[[torch.Tensor], torch.Tensor]) -> Sums:
    def sums(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = values.detach().requires_grad_()
        result = log_partition(values)
        return result, torch.autograd.grad(result.sum(), values)[0]

    return sums


def partition_of_peer(torch_struct) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda values: torch_struct.TreeCRF(values.unsqueeze(-1)).partition


def peak_megabytes(side: str) -> float:
    """What a gradient adds to the memory of a fresh process."""
    command = [sys.executable, __file__, "--memory-of", side, "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def resident_megabytes(field: str) -> float:
    """VmRSS, what this process holds now, or VmHWM, the most that it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def print_memory(side: str) -> None:
    log_partition = (
        partition_of_peer(import_peer()) if side == "theirs" else lambda values: BinaryTreeCRF(values).log_partition
    )
    gradient = with_gradient(log_partition)
    gradient(scores(2, 8))
    values = scores(MEMORY_BATCH, MEMORY_LENGTH)
    before = resident_megabytes("VmRSS")
    gradient(values)
    print(resident_megabytes("VmHWM") - before)


def measure(torch_struct, num_pairs: int) -> list[Comparison]:
    peer, comparisons = f"{PEER} {PEER_VERSION}", []
    values = scores(SUM_BATCH, LENGTH)
    in_one = with_gradient(partition_of_peer(torch_struct))
    for denominator, sums, at_most in ((peer, theirs(torch_struct), 0.2), (f"{peer}, partition and gradient", in_one, None)):
        torch.testing.assert_close(ours(values), sums(values), rtol=1e-4, atol=1e-4)
        pairs = interleaved(lambda: ours(values), lambda sums=sums: sums(values), num_pairs)
        comparisons.append(Comparison("log-partition and marginals", denominator, "s", pairs, at_most=at_most))
    few = scores(SAMPLE_BATCH, LENGTH)
    pairs = interleaved(
        lambda: BinaryTreeCRF(few).sample((NUM_SAMPLES,)),
        lambda: torch_struct.TreeCRF(few.unsqueeze(-1)).sample((NUM_SAMPLES,)),
        num_pairs,
    )
    comparisons.append(Comparison("128 samples", peer, "s", pairs, at_most=0.4))
    pairs = [(peak_megabytes("ours"), peak_megabytes("theirs")) for _ in range(MEMORY_PAIRS)]
    comparisons.append(Comparison("peak memory of a gradient", peer, "MB", pairs))
    limits = [(memory, MEMORY_LIMIT) for memory, _ in pairs]
    comparisons.append(Comparison("peak memory of a gradient", "250 MB", "MB", limits, at_most=1.0))
    return comparisons


def main() -> None:
    # The peer leaves out what a torch distribution declares, and each one built says so.
    warnings.filterwarnings("ignore", message=".*does not define `arg_constraints`")
    parser = argument_parser(__doc__, default_pairs=15)
    add_threads(parser)
    parser.add_argument("--memory-of", choices=("ours", "theirs"), help="only print that number of megabytes")
    arguments = parser.parse_args()
    if arguments.memory_of:
        torch.set_num_threads(arguments.threads or torch.get_num_threads())
        print_memory(arguments.memory_of)
        return
    torch_struct = import_peer()
    shapes = {
        "length": LENGTH,
        "batch_size": SUM_BATCH,
        "samples": [NUM_SAMPLES, SAMPLE_BATCH],
        "memory": {"batch_size": MEMORY_BATCH, "length": MEMORY_LENGTH},
        "dtype": "float32",
    }
    run_comparisons(arguments, lambda pairs: measure(torch_struct, pairs), shapes, peers={PEER: PEER_VERSION})


if __name__ == "__main__":
    main()
