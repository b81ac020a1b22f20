"""`hf-lvm demo`: three minutes from nothing to a model that does something."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hf_lvm.cli.demos import latent_class, latent_summarizer, referential_game, struct_vae, text_vae, urnng

DEMOS = {
    "text-vae": text_vae.main,
    "latent-class": latent_class.main,
    "urnng": urnng.main,
    "latent-summarizer": latent_summarizer.main,
    "struct-vae": struct_vae.main,
    "referential-game": referential_game.main,
}


def main(argv: Sequence[str], prog: str) -> None:
    """Train a demo model, explain its figures, show what it writes, and say what to run next."""
    # Taken by hand, so that the value of a training option behind it is not mistaken for the name.
    name, argv = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("text-vae", argv)
    if name not in DEMOS:
        raise ValueError(f"there is no demo {name!r}; there are: {', '.join(DEMOS)}")
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [{' | '.join(DEMOS)}] [--compare] [--output_dir FOLDER] [--key value ...]",
        description="Train a small model on the documentation that comes with Python, (urnng) on sentences of a small grammar "
        "or (referential-game) on combinations of attributes: offline, from random weights, in under three minutes on two "
        "cores. Then see what it learned.",
        epilog="Every key of `hf-lvm train --help` can be given too, such as --max_steps 500.",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="text-vae: afterwards also train the same decoder as a language model, to compare likelihoods (two more "
        "minutes); the other demos always compare",
    )
    parser.add_argument("--output_dir", help="where everything is kept (default: hf-lvm-demo/NAME)")
    options, flags = parser.parse_known_args(argv)
    output_dir = Path(options.output_dir or Path("hf-lvm-demo") / name)
    DEMOS[name](output_dir, flags, options.compare)
