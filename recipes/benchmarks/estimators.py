"""Which estimator has the least variance for the decoder calls it makes: `hf-lvm check-estimators`, with more draws.

Three toys, in float64, each with 8 values of z scored in a draw:

- categorical: one category of 40, log-likelihoods of -8 plus or minus 1 nat, so that the scores have a large offset;
- autoregressive: 3 symbols of 5, each drawn given the one before, read by one hidden layer;
- binary: 6 bits with a quadratic log-likelihood.

They are `hf_lvm.analysis.estimator_check.problems`, of which `tests/estimators/test_conformance.py` has smaller ones.
Against `rloo` at equal decoder calls another unbiased estimator is to have a lower variance on each of the three.

    python recipes/benchmarks/estimators.py --output recipes/benchmarks/results/estimators.json
"""

import argparse
import json
from pathlib import Path

import torch

from hf_lvm.analysis.estimator_check import EstimatorRow, compare_estimators
from hf_lvm.analysis.estimator_check.problems import PROBLEMS
from hf_lvm.training.results import run_description

RIVAL = "rloo"


def best_rivals(rows: list[EstimatorRow]) -> dict[str, tuple[EstimatorRow, EstimatorRow]]:
    """`rloo` and the unbiased sampling estimator of the ELBO with the least variance besides it, for each problem."""
    found = {}
    for problem in PROBLEMS:
        own = [row for row in rows if row.problem == problem and row.objective == "elbo"]
        rivals = [row for row in own if row.estimator not in (RIVAL, "exact") and not row.is_biased]
        found[problem] = (
            next(row for row in own if row.estimator == RIVAL),
            min(rivals, key=lambda row: row.variance),
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50_000, help="independent estimates of each (default: 50,000)")
    parser.add_argument("--num_samples", type=int, default=8, help="values of z scored in a draw (default: 8)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--output", help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def on_row(row: EstimatorRow) -> None:
        print(
            f"{row.problem:15} {row.label:25} bias {row.relative_bias:.4f} +- {row.standard_error:.4f}",
            f" variance {row.variance:.4g}",
        )

    rows = compare_estimators(num_samples=options.num_samples, draws=options.draws, on_row=on_row)
    for problem, (rloo, best) in best_rivals(rows).items():
        print(f"{problem}: {best.estimator} has {best.variance / rloo.variance:.2f} of the variance of {RIVAL}")
    if options.output:
        command = ["python", "recipes/benchmarks/estimators.py"]
        description = run_description(command, vars(options), 0.0)
        description.pop("training_seconds")
        results = {**description, "estimators": [row.as_dict() for row in rows]}
        Path(options.output).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
