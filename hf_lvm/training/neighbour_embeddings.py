"""Embeddings of a new part that begin as what its tokens' neighbours say, in sentences with and without labels."""

import logging
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from hf_lvm.data.neighbour_vectors import neighbour_vectors

logger = logging.getLogger(__name__)


@torch.no_grad()
def begin_with_neighbours(part: PreTrainedModel, sentences: Sequence[Sequence[int]], name: str) -> None:
    """Let the embeddings of tokens that the sentences have be `neighbour_vectors` of these, as loud as they were before.

    Args:
        part: an encoder or a decoder.
        sentences: token ids.
        name: of the part, for the log.
    """
    weight = part.get_input_embeddings().weight
    vectors = torch.from_numpy(neighbour_vectors(sentences, *weight.shape)).to(weight)
    known = vectors.norm(dim=-1) > 0
    loudness = weight[known].float().norm(dim=-1).mean()
    weight[known] = (vectors[known] * loudness).to(weight.dtype)
    logger.info("Embeddings of the %s: %s of %s tokens begin as their neighbours say.",
                name, f"{int(known.sum()):,}", f"{len(known):,}")  # fmt: skip
