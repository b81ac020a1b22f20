"""`hf-lvm`: one command a verb, errors in one line."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

# verb -> (module with a `main(argv, prog)`, what `hf-lvm --help` says of it)
COMMANDS = {
    "demo": ("hf_lvm.cli.demo", "train a small model in under three minutes, offline, and see what it learned"),
    "train": ("hf_lvm.cli.train", "train a model on your texts"),
    "evaluate": ("hf_lvm.cli.evaluate", "measure a trained model on texts"),
    "sample": ("hf_lvm.cli.sample", "write new texts from draws of the prior"),
    "parse": ("hf_lvm.cli.parse", "find the structure of sentences: trees, meanings, states of words, or topics"),
    "summarize": ("hf_lvm.cli.summarize", "compress texts"),
    "interpolate": ("hf_lvm.cli.interpolate", "write the texts between two texts"),
    "traverse": ("hf_lvm.cli.traverse", "move single dimensions of a latent and write the texts"),
    "arithmetic": ("hf_lvm.cli.arithmetic", "push texts towards an attribute and away from it, beside controls"),
    "report": ("hf_lvm.cli.report", "show a run on one page: results, figures, examples, settings"),
    "card": ("hf_lvm.cli.card", "write the model card of a run"),
    "push": ("hf_lvm.cli.push", "share a trained model on the Hub, with its processor, card and results"),
    "check-estimators": ("hf_lvm.cli.check_estimators", "compare gradient estimators with the exact gradient"),
}
# What a user can mend; anything else is a defect and shows its traceback.
USER_ERRORS = (ValueError, OSError, FloatingPointError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        from hf_lvm import __version__

        print(f"hf-lvm {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        return _fail("hf-lvm", f"there is no command {argv[0]!r}; there are {', '.join(COMMANDS)}")
    module, _ = COMMANDS[argv[0]]
    prog = f"hf-lvm {argv[0]}"
    return exit_status(lambda: importlib.import_module(module).main(argv[1:], prog), prog)


def exit_status(command: Callable[[], object], prog: str) -> int:
    """Run a command: 0 when it is done; 2, and one line on the standard error, for what the user can mend."""
    try:
        command()
    except KeyboardInterrupt:
        return _fail(prog, "stopped by the keyboard", status=130)
    except USER_ERRORS as error:
        if os.environ.get("HF_LVM_TRACEBACK"):
            raise
        return _fail(prog, " ".join(str(error).split()) or type(error).__name__)
    except (MemoryError, RuntimeError) as error:
        # torch says it by a plain RuntimeError where there is no accelerator.
        full = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)
        if not full or os.environ.get("HF_LVM_TRACEBACK"):
            raise
        said = " ".join(str(error).split())
        return _fail(prog, f"the memory is full: take smaller sizes, batches or texts{f' ({said})' if said else ''}")
    return 0


def _fail(prog: str, message: str, status: int = 2) -> int:
    print(f"{prog}: error: {message}", file=sys.stderr)
    return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: hf-lvm COMMAND [options]",
        "",
        "Latent-variable language models: any encoder, any decoder, a latent variable between them.",
        "",
        *(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()),
        "",
        "`hf-lvm COMMAND --help` explains a command. New here? Run `hf-lvm demo`.",
        "Errors are one line; with HF_LVM_TRACEBACK=1 in the environment they show where they come from.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
