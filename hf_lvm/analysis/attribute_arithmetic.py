"""Arithmetic with an attribute: z + (mean of texts that have it - mean of those that do not), against controls.

Larsen et al. (2016) change attributes of faces in this way; Li et al. (2020, Optimus) calculate with sentences. A flip alone
proves nothing: any push far enough changes a text. So every score stands beside that of a random direction of the same length,
and that of no push, which is what reconstruction alone does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_lvm.analysis.latent_walks import decode
from hf_lvm.analysis.text_latents import encode_texts
from hf_lvm.data import LatentTextProcessor
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction


@dataclass(frozen=True)
class AttributeArithmetic:
    """What happens to texts that are pushed along the direction of an attribute.

    Attributes:
        metrics: see [`measure_attribute_arithmetic`].
        examples: (text, its reconstruction, the text after the push), first those that lack the attribute.
    """

    metrics: dict[str, Any]
    examples: list[tuple[str, str, str]]


def attribute_direction(latents: torch.Tensor, has: torch.Tensor) -> torch.Tensor:
    """The mean of the latents with an attribute minus that of those without: (D,).

    Args:
        latents: (N, D).
        has: (N,) of bool.

    Raises:
        ValueError: shapes that do not fit, or all with the attribute, or none.
    """
    if latents.dim() != 2 or has.shape != latents.shape[:1]:
        raise ValueError(f"latents have the shape {tuple(latents.shape)} and has {tuple(has.shape)}; give (N, D) and (N,)")
    if has.all() or not has.any():
        raise ValueError(f"{int(has.sum())} of {len(has)} texts have the attribute: some must have it, and some not")
    return latents[has].mean(0) - latents[~has].mean(0)


@torch.no_grad()
def measure_attribute_arithmetic(
    model,
    texts: Sequence[str],
    processor: LatentTextProcessor,
    judge: Callable[[str], bool],
    *,
    labels: Sequence[bool] | None = None,
    strength: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
    **options,
) -> AttributeArithmetic:
    """Push texts towards an attribute and away from it, and see whether they take it on and stay what they were otherwise.

    Of the texts with the attribute and of those without, a half drawn at random gives the direction; the other is pushed.

    Args:
        model: a text VAE.
        texts: at least two with the attribute and two without.
        judge: whether a text has the attribute, such as `lambda text: text.endswith("?")`; it judges what is written.
        labels: which of `texts` have it; those that `judge` says by default.
        strength: how many times the direction is added.
        seed: of the halves and of the random directions, one for each text.
        options: of `decode_latents`.

    Returns:
        With metrics `norm` of the push and its `strength`; and for texts `towards` the attribute (that lack it) and `away`
        from it (that have it): how many there are, `texts`, and of each push, `shift`, `random` (a direction of its own for
        each text, of the same norm) and `none`, `flipped_share`, the share whose new text is on the other side,
        `content_word_recall`, the share of content words of the texts that stay (None where there are none), and
        `edit_similarity` to the texts, all in 0-1.

    Raises:
        ValueError: labels that do not fit, or fewer than two texts with the attribute or without.
    """
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"there are {len(labels)} labels for {len(texts)} texts: give one for each")
    has = torch.tensor([bool(value) for value in (map(judge, texts) if labels is None else labels)])
    generator = torch.Generator().manual_seed(seed)
    sides = {side: torch.nonzero(has == side).flatten() for side in (False, True)}
    if any(len(rows) < 2 for rows in sides.values()):
        raise ValueError(
            f"{len(sides[True])} of {len(has)} texts have the attribute: at least two must have it, and at least two not, one "
            "to give the direction and one to be pushed"
        )
    sides = {side: rows[torch.randperm(len(rows), generator=generator)] for side, rows in sides.items()}
    fitted = torch.cat([rows[: len(rows) // 2] for rows in sides.values()])
    latents = encode_texts(model, texts, processor, batch_size)
    direction = strength * attribute_direction(latents[fitted], has[fitted])
    metrics: dict[str, Any] = {"norm": direction.norm().item(), "strength": strength}
    examples = []
    for name, side, sign in (("towards", False, 1.0), ("away", True, -1.0)):
        rows = sides[side][len(sides[side]) // 2 :]
        sources, origin = [texts[row] for row in rows], latents[rows]
        noise = torch.randn(origin.shape, generator=generator)
        pushes = {
            "shift": sign * direction.expand_as(origin),
            "random": noise * (direction.norm() / noise.norm(dim=-1, keepdim=True)),
            "none": torch.zeros_like(origin),
        }
        written = {key: decode(model, origin + push, processor, batch_size, **options) for key, push in pushes.items()}
        metrics[name] = {"texts": len(rows)} | {key: _scores(new, sources, judge, side) for key, new in written.items()}
        examples += list(zip(sources, written["none"], written["shift"], strict=True))
    return AttributeArithmetic(metrics, examples)


def _scores(written: list[str], sources: list[str], judge: Callable[[str], bool], side: bool) -> dict[str, float | None]:
    compared = compute_reconstruction(written, sources)
    return {
        "flipped_share": sum(bool(judge(text)) != side for text in written) / len(written),
        "content_word_recall": compared["content_word_recall"],
        "edit_similarity": compared["edit_similarity"],
    }
