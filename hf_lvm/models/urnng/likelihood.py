"""p(x) of sentences: summed over all their trees where they are short, importance-weighted otherwise."""

import math
from dataclasses import replace

import torch

from hf_lvm.distributions import BinaryTreeCRF, Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.urnng.sentences import Sentences
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights

METHODS = ("importance", "exact")
CONVENTIONS = ("normalized", "published")
# Catalan's number of trees over so many words is 4,862.
EXACT_WORDS = 10
# Trees of a batch that are scored at once.
TREES_AT_ONCE = 512


class TreeLikelihood:
    """Methods of a URNNG that compute or estimate the likelihood of sentences."""

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        num_samples: int = 1000,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
        word_ids: torch.LongTensor | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        required_spans: torch.Tensor | None = None,
        temperature: float = 1.0,
        method: str = "importance",
        convention: str = "normalized",
    ) -> LikelihoodEstimate:
        """log p(x) in nats, without dropout.

        Args:
            input_ids, attention_mask, word_ids: (B, S), read by q(z|x) as the proposal; not used by `exact`.
            labels, decoder_word_ids: (B, T), see `forward`.
            num_samples: of `importance`: K trees. The bound rises with K towards log p(x) (Burda et al. 2016).
            chunk_size: trees of each sentence scored at once; by default as many as keep the memory small.
            keep_log_weights: return the log weights (K, B) of `importance` beside the estimate.
            required_spans: taken, so that batches with brackets serve, and not used.
            temperature: of the proposal, q(z|x)^(1/temperature) renormalised; the published code evaluates at 2.
            method: `importance`, or `exact`: the sum over all trees, of sentences of 10 words or fewer.
            convention: `normalized`, of the model whose probabilities sum to 1 over all sentences; or `published`, in which
                the end of a sentence is neither masked nor counted (see `TreeDecoderOutput`).

        Raises:
            ValueError: another method or convention, a temperature that is not above 0, or `exact` for long sentences.
        """
        for name, value, known in (("method", method, METHODS), ("convention", convention, CONVENTIONS)):
            if value not in known:
                raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(map(repr, known))}.")
        if not temperature > 0:
            raise ValueError(f"The temperature of the proposal must be above 0, not {temperature}.")
        sentences = self.sentences_of(labels, decoder_word_ids)
        field = "log_prob" if convention == "normalized" else "published_log_prob"
        with in_evaluation_mode(self):
            if method == "exact":
                return self._summed(sentences, field, chunk_size)
            posterior, _ = self._posterior(input_ids, attention_mask, word_ids, sentences)
            proposal = BinaryTreeCRF(posterior.scores / temperature, posterior.lengths)
            # Drawn at once, so that the result does not depend on the size of the chunks.
            trees = proposal.sample((num_samples,), generator)
            log_weights = [
                self.decoder(sentences.pieces, some, sentences.word_ids)[field].double() - proposal.log_prob(some)
                for some in trees.split(chunk_size or max(1, TREES_AT_ONCE // len(labels)))
            ]
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)

    def _summed(self, sentences: Sentences, field: str, chunk_size: int | None) -> LikelihoodEstimate:
        """log p(x), summed over all trees, sentences of one length at a time."""
        longest = int(sentences.lengths.max())
        if longest > EXACT_WORDS:
            raise ValueError(
                f"A sentence of {longest} words has too many trees to sum over: {EXACT_WORDS} words are the most. Leave "
                "longer ones out, or choose the method 'importance'."
            )
        log_likelihood = torch.zeros(len(sentences.lengths), dtype=torch.float64, device=self.device)
        for length in sentences.lengths.unique().tolist():
            rows = (sentences.lengths == length).nonzero().squeeze(1)
            some = _shortened(sentences, rows, length)
            trees = all_trees(length).to(self.device)
            scores = [
                self.decoder(some.pieces, chunk.unsqueeze(1).expand(-1, len(rows), -1, -1), some.word_ids)[field].double()
                for chunk in trees.split(chunk_size or max(1, TREES_AT_ONCE // len(rows)))
            ]
            log_likelihood[rows] = torch.cat(scores).logsumexp(0)
        return LikelihoodEstimate.exactly(log_likelihood)


def all_trees(length: int) -> torch.Tensor:
    """Every binary tree over so many words: (T, n, n) bool."""
    count = math.comb(2 * length - 2, length - 1) // length
    return BinaryTreeCRF(torch.zeros(1, length, length)).k_best(count).spans.squeeze(1)


def _shortened(sentences: Sentences, rows: torch.Tensor, length: int) -> Sentences:
    """Some of the sentences, which have so many words, with no more room than they need."""
    pieces, word_ids = sentences.pieces[rows], sentences.word_ids
    if word_ids is None:
        return replace(sentences, lengths=sentences.lengths[rows], num_words=length, pieces=pieces[:, :length])
    word_ids = word_ids[rows]
    width = int((word_ids >= 0).sum(1).max())
    return Sentences(sentences.lengths[rows], length, pieces[:, :width], word_ids[:, :width])
