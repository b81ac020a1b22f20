"""Commands driven to the point where work would begin, and what each of them ends in."""

import contextlib
import importlib
import io
import logging
import resource
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from hf_lvm.cli.main import exit_status, main
from hf_lvm.training.mains import RECIPES
from tests.trained_text_vae import write_texts

# Of a processor's time, so that a busy machine changes nothing. A model of a thousand layers takes longer, and is no mistake.
SECONDS = 5
GIBIBYTES = 2


class BeginsToWork(BaseException):
    """Everything that is read and checked was in order. No `Exception`, which somebody may catch."""


class StillRunning(BaseException):
    """A case has taken `SECONDS`; what it was asked for was accepted."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        kind: `accepted`, `long` (accepted, and still at work when it was stopped), `done`, `error` (one line, status 2),
            `usage` (that of argparse, status 2), `help`, or `defect`.
        said: what it printed as its error, or the traceback of a defect.
    """

    kind: str
    said: str


def outcome(argv: Sequence[str], recipe: str | None = None) -> Outcome:
    """Run `hf-lvm` with a command line, or a recipe's script where its module is named."""
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()), _limits():
            status = (
                main(argv) if recipe is None else exit_status(lambda: importlib.import_module(recipe).main(argv), "train.py")
            )
    except BeginsToWork:
        return Outcome("accepted", "")
    except StillRunning:
        return Outcome("long", "")
    except SystemExit as leaving:
        said = error.getvalue()
        if leaving.code in (0, None):
            return Outcome("help", said)
        # argparse repeats what it cannot read as it came, line breaks too.
        usage = leaving.code == 2 and said.startswith("usage: hf-lvm") and ": error: " in said and "Traceback" not in said
        return Outcome("usage" if usage else "defect", f"left with status {leaving.code}, and\n{said}")
    except BaseException:
        return Outcome("defect", traceback.format_exc())
    if status == 0:
        return Outcome("done", "")
    said = error.getvalue()
    lines = [line for line in said.split("\n") if ": error: " in line]
    if status != 2 or len(lines) != 1 or said.split("\n")[-2:] != [lines[0], ""]:
        return Outcome("defect", f"status {status}, and no single line at the end:\n{said}")
    message = lines[0].partition(": error: ")[2]
    # Whoever reads the name of a class, or a bare key, learns nothing.
    return Outcome("error" if len(message.split()) > 2 else "defect", lines[0])


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """No more than `GIBIBYTES` more memory and `SECONDS`, so that a huge size is refused here as it would be elsewhere."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIBIBYTES * 2**30, before[1]))

    def stop(*_):
        raise StillRunning

    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _begin(*_, **__):
    raise BeginsToWork


@contextlib.contextmanager
def stopping_at(stage: str) -> Iterator[None]:
    """Let commands run until `arguments` are read, or until a run is `prepared`: texts encoded, model and trainer built."""
    level = logging.root.manager.disable
    with pytest.MonkeyPatch.context() as patch:
        if stage == "arguments":
            for name in RECIPES.values():
                patch.setattr(importlib.import_module(name), "begin_run", _begin)
        else:
            patch.setattr(Trainer, "train", _begin)
        logging.disable(logging.CRITICAL)
        generator = torch.get_rng_state()
        try:
            yield
        finally:
            logging.disable(level)
            torch.set_rng_state(generator)


def write_places(folder: Path) -> dict[str, str]:
    """What the placeholders of damaged values stand for; `{marker}` is a file that nothing may make."""
    (folder / "binary.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "empty.txt").write_text("")
    (folder / "table.csv").write_text("review,stars\n" + "".join(f"good {n},{n}\n" for n in range(60)))
    (folder / "folder").mkdir()
    write_texts(folder / "texts.txt", 240)
    return {
        "{folder}": str(folder / "folder"),
        "{binary}": str(folder / "binary.bin"),
        "{empty}": str(folder / "empty.txt"),
        "{table}": str(folder / "table.csv"),
        "{texts}": str(folder / "texts.txt"),
        "{marker}": str(folder / "code-was-run"),
    }
