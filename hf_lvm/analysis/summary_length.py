"""A wanted ratio of words for the summaries of many texts taken together, without asking it of each text."""

from collections.abc import Sequence

from tqdm import tqdm

from hf_lvm.data import LatentTextProcessor

# In nats per word: more than any model has needed.
LARGEST_BONUS = 8.0
TRIALS = 14
# As many texts as a report finds a bonus on.
LENGTH_TEXTS = 500


def bonus_for_ratio(
    model,
    texts: Sequence[str],
    processor: LatentTextProcessor,
    ratio: float,
    *,
    decoding: str = "mode",
    batch_size: int = 32,
    tolerance: float = 0.002,
) -> float:
    """The `word_bonus` with which the summaries of many texts, taken together, have a given ratio; found by bisection.

    Models compress to different lengths, and scores of different lengths do not compare (Napoles et al. 2011). Asking the same
    ratio of each text takes away what a model knows of how much a text can lose; a bonus shifts all of them, and leaves that.
    Choose it on texts whose summaries are not then measured.

    Args:
        model: a `LatentSummarizerModel` of the posterior_type `delete`.
        texts: words separated by blanks.
        ratio: words of all summaries to words of all texts, above 0 and up to 1.
        tolerance: how near is near enough.

    Returns:
        Nats a word. Where no bonus reaches the ratio (of a few short texts), the one that comes nearest.

    Raises:
        ValueError: a ratio that is none, or a model that takes no bonus.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}: words of the summaries to words of the texts, above 0 and at most 1.")
    if not texts:
        raise ValueError("There are no texts to find a word_bonus on: give some.")
    ordered = sorted(texts, key=lambda text: len(text.split()))
    total = sum(len(text.split()) for text in ordered)
    low, high, found = -LARGEST_BONUS, LARGEST_BONUS, []
    for _ in tqdm(range(TRIALS), desc=f"Lengths for a ratio of {ratio:g}", leave=False):
        # The model itself first.
        bonus = (low + high) / 2
        options = {"processor": processor, "decoding": decoding, "word_bonus": bonus, "batch_size": batch_size}
        kept = sum(len(summary.split()) for summary in model.summarize(ordered, **options)) / total
        found.append((abs(kept - ratio), abs(bonus), bonus))
        if found[-1][0] <= tolerance:
            break
        low, high = (bonus, high) if kept < ratio else (low, bonus)
    return min(found)[-1]
