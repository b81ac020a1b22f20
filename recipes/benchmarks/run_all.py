"""Every ratio of the benchmarks in one table, measured now.

Each benchmark is a process of its own, one after the other, and writes its pairs into a folder; what stands there is not
measured again (`--again` does), so that a run that was stopped goes on. The table is printed in the end, and written beside
the pairs as table.md. The exit status is 1 where a target is missed or a benchmark fails.

    python recipes/benchmarks/run_all.py                          # about half an hour on two free cores
    python recipes/benchmarks/run_all.py --pairs 5 --only training_step generation

What is compared with published code needs a checkout of it (`--lstm-peer`, `--urnng-peer`), what is compared with torch-struct
needs `pip install --no-deps torch-struct==0.5`; without them those rows are left out, and the table says so. Where torch finds
an accelerator, training and generation are measured there, too: bfloat16 at the shapes of BERT-base and GPT-2, with the tokens
a second of both sides.

Not among them, because they train models for hours: topic_models.py, class_estimators.py, few_labels.py.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from measured_ratios import HEADER, MeasuredRatio, ratios_of
from paired_timing import MIN_PAIRS, table

HERE = Path(__file__).parent
# A file that a checkout of each holds.
PEERS = {"lstm_peer": "modules/vae.py", "urnng_peer": "models.py"}
ACCELERATOR = ("--device", "cuda", "--bf16", "--shape", "base")


@dataclass(frozen=True)
class Benchmark:
    """A file of this folder and how it is run.

    Attributes:
        options: of its command line.
        has_pairs: whether it takes `--pairs`.
        on_accelerator: whether it takes `--device`.
        missing: what it needs that is not there, by the options of this program; None where nothing is.
        peer: the option of this program that it takes as `--peer`.
    """

    options: tuple[str, ...] = ()
    has_pairs: bool = True
    on_accelerator: bool = False
    missing: Callable[[argparse.Namespace], str | None] = lambda options: None
    peer: str | None = None


def without_torch_struct(options: argparse.Namespace) -> str | None:
    return None if importlib.util.find_spec("torch_struct") else "pip install --no-deps torch-struct==0.5"


def without(option: str) -> Callable[[argparse.Namespace], str | None]:
    return lambda options: None if getattr(options, option) else f"--{option.replace('_', '-')} CHECKOUT"


# The quick ones first. The summarizer's sizes are those of its published row.
BENCHMARKS = {
    "padding": Benchmark(has_pairs=False),
    "aggressive_step": Benchmark(),
    "linear_chain": Benchmark(("--threads", "1"), missing=without_torch_struct),
    "class_enumeration": Benchmark(("--threads", "1")),
    "import_time": Benchmark(),
    "binary_tree": Benchmark(missing=without_torch_struct),
    "lstm_training": Benchmark(peer="lstm_peer", missing=without("lstm_peer")),
    "generation": Benchmark(on_accelerator=True),
    "training_step": Benchmark(on_accelerator=True),
    "grammar_decoding": Benchmark(),
    "summarizer_step": Benchmark(
        ("--threads", "1", "--layers", "2", "--width", "128", "--words", "2000", "--batch", "8", "--length", "32")
    ),
    "estimators": Benchmark(has_pairs=False),
    "parsing_throughput": Benchmark(("--threads", "1")),
    "urnng_training": Benchmark(("--threads", "1"), peer="urnng_peer", missing=without("urnng_peer")),
}


def command_of(name: str, output: Path, options: argparse.Namespace, on_accelerator: bool = False) -> list[str]:
    """The command line of one benchmark."""
    own = BENCHMARKS[name]
    command = [sys.executable, str(HERE / f"{name}.py"), "--output", str(output), *own.options]
    if options.pairs is not None and own.has_pairs:
        command += ["--pairs", str(options.pairs)]
    if own.peer is not None:
        command += ["--peer", str(getattr(options, own.peer))]
    return command + list(ACCELERATOR if on_accelerator else ())


def measure(name: str, output: Path, command: list[str], again: bool) -> str | None:
    """Run one benchmark, its output in `output` and a log beside it; what went wrong, or None."""
    if output.exists() and not again:
        print(f"{name}: {output} is there already", flush=True)
        return None
    print(f"{name}: ", end="", flush=True)
    started = time.perf_counter()
    log = output.with_suffix(".log")
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{time.perf_counter() - started:.0f} s", flush=True)
    return f"failed with status {status}: see {log}" if status else None


def print_table(rows: list[MeasuredRatio], left_out: dict[str, str]) -> str:
    """The table, how many targets are met, and what was left out."""
    with_speeds = any(row.speeds for row in rows)
    lines = [
        row.cells() + ([" / ".join(f"{speed:,.0f}" for speed in row.speeds or ())] if with_speeds else []) for row in rows
    ]
    text = table(HEADER + (["tokens a second"] if with_speeds else []), lines)
    verdicts = [row.is_met for row in rows if row.is_met is not None]
    text += f"\n\n{sum(verdicts)} of {len(verdicts)} targets are met."
    for name, why in left_out.items():
        text += f"\n{name}: {why}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=Path("runs/benchmarks"), help="folder of the pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="these benchmarks (default: all)"
    )
    parser.add_argument("--pairs", type=int, help=f"pairs of each row, at least {MIN_PAIRS} (default: as each file has it)")
    parser.add_argument("--again", action="store_true", help="measure anew what stands in the folder")
    parser.add_argument("--lstm-peer", type=Path, help="a checkout of https://github.com/jxhe/vae-lagging-encoder")
    parser.add_argument("--urnng-peer", type=Path, help="a checkout of https://github.com/harvardnlp/urnng")
    options = parser.parse_args()
    if options.pairs is not None and options.pairs < MIN_PAIRS:
        parser.error(f"a median needs at least {MIN_PAIRS} pairs, not {options.pairs}")
    for name in PEERS:
        checkout = getattr(options, name)
        if checkout is not None and not (checkout / PEERS[name]).is_file():
            parser.error(f"--{name.replace('_', '-')}: {checkout} is no checkout, it holds no {PEERS[name]}")
    options.results.mkdir(parents=True, exist_ok=True)
    rows, left_out, failed = [], {}, False
    for name in options.only:
        missing = BENCHMARKS[name].missing(options)
        if missing is not None:
            left_out[name] = f"left out, needs {missing}"
            continue
        places = {name: False}
        if torch.cuda.is_available() and BENCHMARKS[name].on_accelerator:
            places[f"{name}_accelerator"] = True
        for stem, on_accelerator in places.items():
            output = options.results / f"{stem}.json"
            wrong = measure(stem, output, command_of(name, output, options, on_accelerator), options.again)
            if wrong is None:
                rows += ratios_of(name, json.loads(output.read_text(encoding="utf-8")))
            else:
                left_out[stem], failed = wrong, True
    text = print_table(rows, left_out)
    print(f"\n{text}")
    (options.results / "table.md").write_text(text + "\n", encoding="utf-8")
    return 1 if failed or any(row.is_met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
