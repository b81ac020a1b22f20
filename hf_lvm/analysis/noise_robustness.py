"""Whether a latent space is robust to noise: where a text goes, and what is written from there, when words are missing.

A latent that is about what a text says should hardly move when some of its words are lost, and a decoder may even restore
them. Both are measured by leaving out words at random, beside the same numbers for whole texts and for other texts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributions import kl_divergence

from hf_lvm.analysis.corpus import derangement
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction, content_words


def drop_words(texts: Sequence[str], share: float, seed: int = 0) -> list[str]:
    """Each text without some of its words: each word is left out with the probability `share`, but one always stays.

    Args:
        share: above 0 and below 1.

    Raises:
        ValueError: another share.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of words to leave out lies between 0 and 1, and {share} does not: give 0.2, for example")
    generator = torch.Generator().manual_seed(seed)
    noisy = []
    for text in texts:
        words = text.split()
        draws = torch.rand(len(words), generator=generator).tolist()
        kept = [word for word, draw in zip(words, draws, strict=True) if draw >= share]
        noisy.append(" ".join(kept or words[:1]))
    return noisy


@torch.no_grad()
def measure_noise_robustness(
    model,
    texts: Sequence[str],
    processor: LatentTextProcessor,
    *,
    share: float = 0.2,
    conditions: Sequence[str] | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """What becomes of N texts x when words are left out of them, x'.

    Args:
        model: a text VAE.
        texts: 2 or more that the model was not trained on.
        share: of the words that are left out, see `drop_words`.
        conditions: of a conditional model, one for each text; they stay as they are.
        seed: of the words that are left out.

    Returns:
        - `sentences`, `dropped_share`: N, and `share`.
        - `kl_nats`: KL(q(z|x') || q(z|x)), mean over texts, nats per sentence; `kl_nats_of_other_texts` the same with q of
          another text in place of x', which is what a move as far as any would be.
        - `distance`: root mean square over dimensions of (mean' - mean) / standard deviation of q(z|x), mean over texts;
          `distance_of_other_texts` likewise. All four are None where q is no diagonal Gaussian.
        - `content_words_left`: share of the content words of x that still stand in x'; `content_words_recovered`: of those
          that stand in the greedy reconstruction of x'; `content_words_recovered_without_noise`: in that of x.
        - `lost_content_words_recovered`: of the content words that x' lacks, the share that its reconstruction has again.
          Shares lie in 0-1, over all texts together, and are None where there is no such word.

    Raises:
        ValueError: a share that is none, or fewer than 2 texts.
    """
    if len(texts) < 2:
        raise ValueError(f"robustness to noise is measured beside other texts: give at least 2 texts, not {len(texts)}")
    noisy = drop_words(texts, share, seed)
    clean_posteriors = _posteriors(model, texts, processor, conditions, batch_size)
    noisy_posteriors = _posteriors(model, noisy, processor, conditions, batch_size)
    rebuilt = [text for own in clean_posteriors for text in model.decode_latents(own.mode, processor=processor)]
    rebuilt_noisy = [text for own in noisy_posteriors for text in model.decode_latents(own.mode, processor=processor)]
    lost = [content_words(text) - content_words(other) for text, other in zip(texts, noisy, strict=True)]
    again = sum(len(words & content_words(text)) for words, text in zip(lost, rebuilt_noisy, strict=True))
    num_lost = sum(map(len, lost))
    return {
        "sentences": len(texts),
        "dropped_share": share,
        **_moves(clean_posteriors, noisy_posteriors, seed),
        "content_words_left": compute_reconstruction(noisy, texts)["content_word_recall"],
        "content_words_recovered": compute_reconstruction(rebuilt_noisy, texts)["content_word_recall"],
        "content_words_recovered_without_noise": compute_reconstruction(rebuilt, texts)["content_word_recall"],
        "lost_content_words_recovered": again / num_lost if num_lost else None,
    }


def _posteriors(model, texts, processor, conditions, batch_size: int) -> list:
    """q(z|x) of the texts, a distribution for each batch, in their order."""
    found = []
    for begin in range(0, len(texts), batch_size):
        rows = slice(begin, begin + batch_size)
        given = {} if conditions is None else {"conditions": list(conditions[rows])}
        found.append(model.encode_texts(list(texts[rows]), processor=processor, **given))
    return found


def _moves(clean: list, noisy: list, seed: int) -> dict[str, float | None]:
    """How far the posteriors went, and how far those of other texts are; in float64, where small moves are not rounded off."""
    if not all(isinstance(each, DiagonalGaussian) for each in (*clean, *noisy)):
        return dict.fromkeys(("kl_nats", "kl_nats_of_other_texts", "distance", "distance_of_other_texts"))
    own, moved = (
        DiagonalGaussian(
            torch.cat([each.mean for each in parts]).double().cpu(), torch.cat([each.stddev for each in parts]).double().cpu()
        )
        for parts in (clean, noisy)
    )
    order = derangement(len(own.mean), seed)
    other = DiagonalGaussian(own.mean[order], own.stddev[order])
    return {
        "kl_nats": kl_divergence(moved, own).mean().item(),
        "kl_nats_of_other_texts": kl_divergence(other, own).mean().item(),
        "distance": _distance(moved, own),
        "distance_of_other_texts": _distance(other, own),
    }


def _distance(moved: DiagonalGaussian, own: DiagonalGaussian) -> float:
    return ((moved.mean - own.mean) / own.stddev).square().mean(-1).sqrt().mean().item()
