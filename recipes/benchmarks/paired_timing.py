"""What the benchmarks share: two things timed in turns, the ratio of each pair, a table, a file of results.

The two sides of a pair run right after each other, so that a machine that slows down slows both; the median over pairs
then forgets the pair in which it did so half-way.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from measured_models import SHAPES

from hf_lvm.training.memory import keep_freed_memory
from hf_lvm.training.results import run_description, write_results

MIN_PAIRS = 5


@dataclass
class Comparison:
    """A measured quantity of ours against the same quantity of what it is compared with.

    Attributes:
        name: what is measured.
        denominator: what it is compared with.
        unit: of both numbers of a pair.
        pairs: (ours, theirs), in the order in which they were measured.
        at_most, at_least: what the median of the ratios has to be; both None where it is only printed.
        tokens: of one timed call, where seconds are timed; their number a second is then written, too.
    """

    name: str
    denominator: str
    unit: str
    pairs: list[tuple[float, float]]
    at_most: float | None = None
    at_least: float | None = None
    tokens: int | None = None
    ratios: list[float] = field(init=False)
    median: float = field(init=False)

    def __post_init__(self):
        self.ratios = [ours / theirs for ours, theirs in self.pairs]
        self.median = statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """The target and whether it is met, empty without a target."""
        if self.at_most is not None:
            return f"<= {self.at_most}: {'yes' if self.median <= self.at_most else 'NO'}"
        if self.at_least is not None:
            return f">= {self.at_least}: {'yes' if self.median >= self.at_least else 'NO'}"
        return ""

    def as_row(self) -> list[str]:
        ours, theirs = (statistics.median(side) for side in zip(*self.pairs, strict=True))
        spread = f"{min(self.ratios):.3f} - {max(self.ratios):.3f}"
        values = f"{ours:.4g} / {theirs:.4g} {self.unit}"
        return [self.name, self.denominator, values, f"{self.median:.3f}", spread, self.verdict]

    def as_record(self) -> dict[str, Any]:
        target = {"at_most": self.at_most, "at_least": self.at_least}
        speeds = (
            [statistics.median(self.tokens / seconds for seconds in side) for side in zip(*self.pairs, strict=True)]
            if self.tokens
            else None
        )
        return {
            "name": self.name,
            "denominator": self.denominator,
            "unit": self.unit,
            "pairs": [list(pair) for pair in self.pairs],
            "ratios": self.ratios,
            "median_ratio": self.median,
            "target": {key: value for key, value in target.items() if value is not None},
            **({} if speeds is None else {"tokens_per_second": speeds}),
        }


HEADER = ["what", "compared with", "medians", "ratio", "min - max", "target"]


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call; rubbish of earlier calls is collected before the clock starts.

    What an accelerator was given to do is waited for before and after.
    """
    gc.collect()
    _wait_for_accelerator()
    start = time.perf_counter()
    run()
    _wait_for_accelerator()
    return time.perf_counter() - start


def _wait_for_accelerator() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved(
    ours: Callable[[], Any], theirs: Callable[[], Any], num_pairs: int, warm_up: int = 2
) -> list[tuple[float, float]]:
    """Seconds of both, A B A B ..., after `warm_up` pairs that do not count."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(warm_up + num_pairs)]
    return pairs[warm_up:]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def argument_parser(description: str, default_pairs: int | None = None) -> argparse.ArgumentParser:
    """The options that the benchmarks have in common; `--pairs` only where something is timed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="results.json", help="also write everything measured to this file")
    if default_pairs is not None:
        parser.add_argument(
            "--pairs",
            type=_num_pairs,
            default=default_pairs,
            help=f"timed pairs of each row (default: {default_pairs})",
        )
    return parser


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, help="of torch, for both sides (default: its own choice)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where the models are, how large, and in which type they count."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument("--bf16", action="store_true", help="both sides under autocast to bfloat16")
    parser.add_argument("--shape", choices=SHAPES, default="small", help="of both parts (default: small)")


def autocast(options: argparse.Namespace) -> torch.autocast:
    """Of the options of `add_device`; without `--bf16` it does nothing."""
    return torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=options.bf16)


def run_comparisons(
    options: argparse.Namespace,
    compare: Callable[[int], Sequence[Comparison]],
    shapes: dict[str, Any],
    **more: Any,
) -> None:
    """Measure, print the table and write the file, as the options of the command line ask.

    Args:
        options: of `argument_parser` and `add_threads`.
        compare: measures with a number of pairs.
        shapes, more: written beside what is measured.
    """
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    started = time.perf_counter()
    comparisons = compare(options.pairs)
    print(table(HEADER, [comparison.as_row() for comparison in comparisons]))
    write_comparisons(options.output, shapes, comparisons, started, **more)


def write_comparisons(
    path: Path | None, shapes: dict[str, Any], comparisons: Sequence[Comparison], started: float, **more: Any
) -> None:
    """Write command, shapes, versions, threads and every pair; nothing when `path` is None."""
    records = {"comparisons": [comparison.as_record() for comparison in comparisons]}
    write_measurement(path, shapes, records | more, started)


def write_measurement(path: Path | None, shapes: dict[str, Any], measured: dict[str, Any], started: float) -> None:
    """Write what was measured beside what it was measured with; nothing when `path` is None.

    Args:
        started: `time.perf_counter()` at the beginning of the benchmark.
    """
    if path is None:
        return
    run = run_description(sys.argv, shapes, time.perf_counter() - started)
    record = {
        "command": f"python recipes/benchmarks/{run['command']}",
        "shapes": shapes,
        "threads": torch.get_num_threads(),
        "seconds": run["training_seconds"],
        **{key: run[key] for key in ("finished", "hardware", "versions")},
    }
    write_results(path, record | measured)
    print(f"\nWritten to {path}.")


def _num_pairs(value: str) -> int:
    number = int(value)
    if number < MIN_PAIRS:
        raise argparse.ArgumentTypeError(f"a median needs at least {MIN_PAIRS} pairs, not {number}")
    return number
