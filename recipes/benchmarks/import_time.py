"""What `import hf_lvm` costs, alone and before the usual import of transformers.

Every measurement is a fresh interpreter, from its start to its end, in a folder that is not the repository; the
programs take turns. The denominator is always the interpreter that runs nothing but

    from transformers import AutoConfig, AutoModel, PreTrainedModel

Start and end of the interpreter are inside all of these times. The second table subtracts them: in each round an empty
program (`pass`) is timed too and its time taken off both sides.
"""

import statistics
import subprocess
import sys
import tempfile
import time

from paired_timing import HEADER, Comparison, argument_parser, table, write_comparisons

TRANSFORMERS = "from transformers import AutoConfig, AutoModel, PreTrainedModel"
PROGRAMS = {
    "alone": "import hf_lvm",
    "followed by that line": f"import hf_lvm; {TRANSFORMERS}",
    "that line": TRANSFORMERS,
    "pass": "pass",
}
AT_MOST = {"alone": 0.2, "followed by that line": 1.1}
WARM_UP = 1


def fresh_interpreter(program: str, folder: str) -> float:
    """Seconds of `python -c program`, from start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder)
    return time.perf_counter() - start


def compare(rounds: list[dict[str, float]], without_interpreter: bool) -> list[Comparison]:
    """One comparison a target; with the interpreter's own time taken off, only printed."""
    comparisons = []
    for name, at_most in AT_MOST.items():
        pairs = []
        for round_ in rounds:
            empty = round_["pass"] if without_interpreter else 0.0
            pairs.append((round_[name] - empty, round_["that line"] - empty))
        title = f"import hf_lvm, {name}" + (", less an empty program" if without_interpreter else "")
        comparisons.append(Comparison(title, "that line", "s", pairs, at_most=None if without_interpreter else at_most))
    return comparisons


def main() -> None:
    arguments = argument_parser(__doc__, default_pairs=11).parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            {name: fresh_interpreter(program, folder) for name, program in PROGRAMS.items()}
            for _ in range(WARM_UP + arguments.pairs)
        ][WARM_UP:]
    whole, net = compare(rounds, without_interpreter=False), compare(rounds, without_interpreter=True)
    print(f"that line: {TRANSFORMERS}\n")
    print(table(HEADER, [comparison.as_row() for comparison in whole]))
    empty = statistics.median(round_["pass"] for round_ in rounds)
    print(f"\nWithout the time of an empty program ({empty:.3f} s):\n")
    print(table(HEADER, [comparison.as_row() for comparison in net]))
    write_comparisons(arguments.output, {"programs": PROGRAMS}, whole + net, started, rounds=rounds)


if __name__ == "__main__":
    main()
