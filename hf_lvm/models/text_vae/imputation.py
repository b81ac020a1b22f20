"""Filling a blank in a sentence, both of whose sides are given (Bowman et al. 2015, section 4.2).

A decoder writes from left to right and never sees the right side; the latent does. So the two alternate: z is drawn from
q(z | the sentence as filled so far), the hole is written again from the left side and z, and the filling under which the whole
sentence is most probable is kept.
"""

import torch

from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode


@torch.no_grad()
def impute(
    model,
    text: str,
    processor: LatentTextProcessor,
    *,
    blank: str,
    rounds: int,
    num_candidates: int,
    max_words: int,
    num_samples: int,
    generator: Generators = None,
    condition: str | None = None,
) -> str:
    """Fill the blank of a text.

    Args:
        model: a text VAE.
        text: a text with `blank` in it once.
        rounds: how often z is drawn again and the hole re-written.
        num_candidates: continuations of the left side written in each round.
        max_words: the hole is filled by at most so many words.
        num_samples: importance samples for the log p(x) by which fillings are compared.
        condition: of a conditional VAE, the text c of q(z|x, c) and of log p(x|c).

    Raises:
        ValueError: no blank in the text, or several.
    """
    if text.count(blank) != 1:
        raise ValueError(f"The text must hold the blank {blank!r} once, and holds it {text.count(blank)} times: {text!r}")
    left, right = (side.strip() for side in text.split(blank))
    with in_evaluation_mode(model):
        filled, best = _join(left, "", right), (-float("inf"), None)
        for _ in range(rounds):
            posterior = model.encode_texts(filled, processor=processor, conditions=condition)
            latents = posterior.sample((num_candidates,), generator).squeeze(1)
            holes = _write_holes(model, left, latents, processor, max_words)
            whole = sorted({_join(left, hole, right) for hole in holes})
            # A first sieve with few samples, then a closer look at the best.
            for samples, kept in ((4, 8), (num_samples, 1)):
                scores = _log_likelihoods(model, whole, processor, samples, generator, condition)
                order = sorted(range(len(whole)), key=scores.__getitem__, reverse=True)[:kept]
                whole, scores = [whole[index] for index in order], [scores[index] for index in order]
            best = max(best, (scores[0], whole[0]), key=lambda pair: pair[0])
            filled = best[1]
    return filled


def _write_holes(model, left: str, latents: torch.Tensor, processor: LatentTextProcessor, max_words: int) -> list[str]:
    """Fillings of one to `max_words` words: every beginning of every continuation of the left side."""
    tokens = processor.decoder_tokenizer(left, add_special_tokens=False)["input_ids"]
    prompt = torch.tensor([tokens], dtype=torch.long, device=model.device).repeat(len(latents), 1)
    written = model.generate(latents=latents, decoder_input_ids=prompt, do_sample=True, top_k=0, max_new_tokens=4 * max_words)
    begun = len(processor.batch_decode(prompt[:1])[0]) if tokens else 0
    continuations = [whole[begun:].split() for whole in processor.batch_decode(written)]
    holes = [" ".join(words[:count]) for words in continuations for count in range(1, min(len(words), max_words) + 1)]
    return holes or [""]


def _log_likelihoods(
    model,
    texts: list[str],
    processor: LatentTextProcessor,
    num_samples: int,
    generator: Generators,
    condition: str | None,
) -> list[float]:
    inputs = processor(texts, conditions=None if condition is None else [condition] * len(texts)).to(model.device)
    estimate = model.estimate_log_likelihood(**inputs, num_samples=num_samples, generator=generator)
    return estimate.log_likelihood.tolist()


def _join(left: str, hole: str, right: str) -> str:
    """One sentence; no space before the punctuation that a side may begin with."""
    joined = ""
    for side in (left, hole, right):
        space = " " if joined and side and side[0] not in ",.;:!?)" else ""
        joined += space + side
    return joined
