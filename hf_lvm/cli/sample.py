"""`hf-lvm sample`: new texts from draws of the prior."""

import argparse
from collections.abc import Sequence

import torch

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.options import add_model_options


def main(argv: Sequence[str], prog: str) -> None:
    """Draw z from the prior, write its text, print one a line."""
    parser = argparse.ArgumentParser(prog=prog, description="Write new texts: z from the prior, then the text of z.")
    add_model_options(parser)
    parser.add_argument("--num_texts", type=int, default=8, help="how many texts (default: 8)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the words; 0 takes the most probable (default: 1)")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="longest text in tokens (default: 64)")
    options = parser.parse_args(argv)
    model, processor = load_trained(options.model, "sample")
    torch.manual_seed(options.seed)
    decoding = {}
    if options.temperature != 1.0:
        decoding = {"do_sample": False} if options.temperature == 0 else {"temperature": options.temperature}
    texts = model.sample(
        options.num_texts,
        processor=processor,
        generator=torch.Generator().manual_seed(options.seed),
        max_new_tokens=options.max_new_tokens,
        **decoding,
    )
    print("\n".join(texts))
