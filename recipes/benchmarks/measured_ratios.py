"""What the files of results of the benchmarks say, as one kind of row.

A file holds pairs that were timed in turns (`comparisons`), shares of padding (`padding`) or the bias and variance of
estimators (`estimators`); each becomes ratios with a spread, a target, and whether it is met.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HEADER = ["benchmark", "what", "compared with", "ratio", "min - max", "target"]
# The estimator whose variance the others' are compared with, and what is no rival of it: a sum, not a sample.
MEASURE, SUM = "rloo", "exact"


@dataclass(frozen=True)
class MeasuredRatio:
    """One ratio of ours to what it is compared with.

    Attributes:
        benchmark: the file that measured it, without `.py`.
        what, against: ours, theirs.
        ratio: the median of `ratios`.
        ratios: of the single pairs; empty where nothing was timed.
        target: `at_most` or `at_least` with the number; empty where it is only printed.
        speeds: tokens a second of both sides, where they were counted.
    """

    benchmark: str
    what: str
    against: str
    ratio: float
    ratios: Sequence[float]
    target: dict[str, float]
    speeds: Sequence[float] | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is; None without one."""
        if "at_most" in self.target:
            return self.ratio <= self.target["at_most"]
        if "at_least" in self.target:
            return self.ratio >= self.target["at_least"]
        return None

    def cells(self, with_verdict: bool = True) -> list[str]:
        """As `HEADER` names them."""
        sign = "<=" if "at_most" in self.target else ">="
        target = "".join(f"{sign} {value:g}" for value in self.target.values())
        if target and with_verdict:
            target += ": yes" if self.is_met else ": NO"
        spread = f"{min(self.ratios):.3f} - {max(self.ratios):.3f} of {len(self.ratios)} pairs" if self.ratios else ""
        return [f"`{self.benchmark}.py`", self.what, self.against, f"{self.ratio:.3f}", spread, target]


def ratios_of(benchmark: str, record: dict[str, Any]) -> Iterator[MeasuredRatio]:
    """All ratios of what a benchmark has written to its `--output`."""
    for row in record.get("comparisons", ()):
        yield MeasuredRatio(
            benchmark, row["name"], row["denominator"], row["median_ratio"], row["ratios"], row["target"],
            row.get("tokens_per_second") or _speeds(row),
        )  # fmt: skip
    for batches, shares in record.get("padding", {}).items():
        target = record["target"] if batches == "bucketed by length" else {}
        for side, share in shares.items():
            yield MeasuredRatio(benchmark, f"padding of the {side}, batches {batches}", "all tokens", share, (), target)
    yield from _variances(benchmark, record.get("estimators", ()))


def _speeds(row: dict[str, Any]) -> list[float] | None:
    if row["unit"] != "tokens/s":
        return None
    return [sorted(side)[len(side) // 2] for side in zip(*row["pairs"], strict=True)]


def _variances(benchmark: str, rows: Sequence[dict[str, Any]]) -> Iterator[MeasuredRatio]:
    """Of each toy, the unbiased sampling estimator with the least variance beside `rloo`."""
    for problem in dict.fromkeys(row["problem"] for row in rows):
        own = {row["estimator"]: row for row in rows if row["problem"] == problem and row["objective"] == "elbo"}
        rivals = [name for name, row in own.items() if name not in (MEASURE, SUM) and not row["is_biased"]]
        best = min(rivals, key=lambda name: own[name]["variance"])
        what = f"variance of {best} on the {problem} toy"
        yield MeasuredRatio(benchmark, what, MEASURE, own[best]["variance"] / own[MEASURE]["variance"], (), {"at_most": 1.0})
