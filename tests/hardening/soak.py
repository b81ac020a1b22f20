"""Use tiny models for as long as is asked for, and see whether memory grows.

    PYTHONPATH=. python tests/hardening/soak.py --seconds 3600

One line a minute: resident memory, rounds so far. At the end the slope of a straight line through what was measured after the
warm-up, in MB an hour, and exit status 1 where it is above `--limit`. Linux only: memory is read from /proc. The warm-up is
long, because torch keeps something for every new shape of a batch until it has seen them all.
"""

import argparse
import gc
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hf_lvm.data import LatentTextProcessor, train_word_tokenizer
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.models.urnng.tiny_grammars import tiny_urnng
from tests.tiny_parts import VOCABULARY, tiny_vae

WORDS = list("abcdefghijklmnopqr")


def resident_megabytes() -> float:
    """Memory of this process that is in use, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status names no VmRSS")


def build() -> tuple[list, LatentTextProcessor]:
    """A text VAE, a URNNG and a summarizer, and a processor over their words."""
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    models = [tiny_vae(), tiny_vae("hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder", injection="initial_state")]
    models += [tiny_urnng(vocab_size=VOCABULARY), tiny_summarizer(vocab_size=VOCABULARY)]
    return models, LatentTextProcessor(tokenizer, tokenizer)


def use_once(models: list, processor: LatentTextProcessor, rng: random.Random) -> None:
    """Every kind of call, on other texts, lengths and batch sizes each time."""
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 6))]
    batch = processor(texts)
    *vaes, urnng, summarizer = models
    for vae in vaes:
        posterior = vae.encode(batch["input_ids"], batch["attention_mask"])
        vae.generate(latents=posterior.mode, max_new_tokens=rng.randint(1, 8))
        vae.generate(latents=posterior.sample(), max_new_tokens=4, num_beams=3)
        vae.reconstruct(texts, processor=processor)
        vae.estimate_log_likelihood(**batch, num_samples=3)
    urnng.parse(texts, processor=processor)
    urnng.surprisal(texts[:1], processor=processor, beam_size=4)
    summarizer.summarize(texts, processor=processor, ratio=rng.uniform(0.2, 1.0))


def slope_per_hour(seconds: list[float], megabytes: list[float]) -> float:
    """MB an hour of the straight line through the measurements (least squares)."""
    return float(np.polyfit(np.array(seconds) / 3600, megabytes, 1)[0])


def soak(seconds: float, every: float, warm_up: float, report=print) -> float:
    """Use the models for `seconds`, measure `every` so many; the slope in MB an hour after `warm_up` seconds.

    Raises:
        ValueError: fewer than two measurements after the warm-up.
    """
    if seconds < warm_up + 2 * every:
        raise ValueError(f"{seconds} seconds leave fewer than two measurements, one every {every}, after {warm_up} of warm-up")
    torch.manual_seed(0)
    models, processor = build()
    rng, times, sizes, rounds, begin = random.Random(0), [], [], 0, time.monotonic()
    due = every
    while (passed := time.monotonic() - begin) < seconds or due <= seconds:
        with torch.no_grad():
            use_once(models, processor, rng)
        rounds += 1
        if passed >= due:
            gc.collect()
            size = resident_megabytes()
            report(f"{passed:7.0f} s  {size:8.1f} MB  {rounds:,} rounds", flush=True)
            if passed >= warm_up:
                times.append(passed)
                sizes.append(size)
            due += every
    slope = slope_per_hour(times, sizes)
    report(
        f"{rounds:,} rounds in {passed:.0f} s: {sizes[0]:.1f} MB to {sizes[-1]:.1f} MB, {slope:+.2f} MB an hour", flush=True
    )
    return slope


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="how long (default: an hour)")
    parser.add_argument("--every", type=float, default=60, help="seconds between two measurements (default: 60)")
    parser.add_argument("--warm_up", type=float, default=600, help="seconds that do not count (default: 600)")
    parser.add_argument("--limit", type=float, default=20, help="MB an hour that are still flat (default: 20)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    return int(soak(options.seconds, options.every, options.warm_up) > options.limit)


if __name__ == "__main__":
    sys.exit(main())
