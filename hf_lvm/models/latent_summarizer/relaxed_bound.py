"""The bound of compressions that are relaxed, so that its gradient runs through what is sampled.

Under `straight_through` a compression is a sequence of corners of simplices (`hf_lvm.generation.relaxed_sequences`): exact
samples of q, at every temperature. The prior and the reader of c read them as means of embeddings, here the embedding of one
symbol each. So

- the value is that of the discrete objective at the compressions `points.argmax(-1)`, without bias. The KL divergence is the
  one of each step in closed form, summed over the steps that q took: its mean over samples is that of log q(c) - log p(c),
  with less variance.
- The gradient is biased. Where symbols are chosen it puts the derivative of the softmax in the place of that of the argmax,
  and the decoder's slope between embeddings in the place of the difference of its values at them. It is the gradient of no
  function, and not even its sign is certain; `rloo` has none of this and more variance.

An end weighs on the steps behind it: their KL is multiplied by the probability that they are reached, and so are their
embeddings. Thus q feels what further words would cost, and what it would lose of those it has.

Under `gumbel_softmax` the points lie inside the simplices, and a compression ends at every place with some weight. Its loss
is the mean over the ends (as in EGG, Kharitonov et al. 2019), each with a reconstruction of its own, from the points before it
and an end. That is the relaxed objective, whose gradient is exact, and which becomes the discrete one as the temperature
falls, with a noisier gradient. It takes as many reconstructions as there are ends of any weight: one where q is given the
number of words. All this is in training; what is reported otherwise is of samples.
"""

import inspect

import torch

from hf_lvm.backbones.bag_of_words_encoder import BagOfWordsEncoderModel
from hf_lvm.distributions import Generators
from hf_lvm.distributions.lengths import may_look
from hf_lvm.generation.cached_decoder import embedding_table
from hf_lvm.generation.relaxed_sequences import (
    EmbeddedSequences,
    RelaxedSequences,
    embed_sequences,
    reading_weights,
    relaxed_sequences,
)
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.layers.word_softmax import log_not
from hf_lvm.models.latent_summarizer.source_words import SourceWords
from hf_lvm.objectives import BoundTerms


class RelaxedBound:
    """Methods of a latent summarizer for compressions that a gradient goes through."""

    def relaxed_bound(
        self,
        source: SourceWords,
        posterior: SymbolSequences,
        temperature: float | torch.Tensor,
        read: torch.Tensor | None = None,
        generator: Generators = None,
        *,
        kl_weight: float = 1.0,
    ) -> tuple[BoundTerms, torch.Tensor]:
        """The bound, and the compressions (K, B, T) it was computed from, or is nearest to. Of K samples a sentence, in nats.

        Args:
            temperature: of the softmax that the gradient is of; one, or one a row.
            read: (B, T), what a causal decoder reads in the place of the shifted labels.

        Raises:
            ValueError: a part that reads ids only, or that knows fewer symbols than q; its name is said.
        """
        hard = self.config.estimator == "straight_through"
        relaxed = relaxed_sequences(posterior, temperature, (self.config.num_samples,), generator, straight_through=hard)
        ids = self.posterior_head.token_ids(source)
        score = self.log_likelihood_of_points if hard else self.mean_log_likelihood_of_ends
        reconstruction = -score(source, relaxed, ids, read).mean(0)
        kl = self.divergence_of_points(relaxed, ids).mean(0)
        loss = reconstruction + kl_weight * kl
        return BoundTerms(loss, reconstruction.detach(), kl.detach()), relaxed.points.argmax(-1)

    def log_likelihood_of_points(
        self,
        source: SourceWords,
        relaxed: RelaxedSequences,
        ids: torch.Tensor | None = None,
        read: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """log p(x|c) of corners (K, B, T, V): (K, B).

        Args:
            ids: (B, V), the token of each symbol of a row; None where symbols are tokens.
        """
        embeds, weights = self._read_by(self.reading_part, relaxed, ids)
        width = int((weights > 0).sum(-1).max()) if may_look(weights, False) else weights.shape[-1]
        embeds = (embeds * weights.unsqueeze(-1).to(embeds.dtype))[:, :, :width]
        return self.write_from(source, weights[:, :, :width] > 0, read, embeds=embeds)

    def mean_log_likelihood_of_ends(
        self,
        source: SourceWords,
        relaxed: RelaxedSequences,
        ids: torch.Tensor | None = None,
        read: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The mean of log p(x|c) over the ends of points inside simplices (K, B, T, V), each as probable as it is: (K, B).

        Args:
            ids: (B, V), the token of each symbol of a row; None where symbols are tokens.
        """
        name, weights = self.reading_part, relaxed.end_weights
        embeds = self._read_by(name, relaxed, ids).embeds
        end = embedding_table(self.get_submodule(name))[source.end].to(embeds.dtype)
        total = torch.zeros_like(weights[..., 0])
        for place in range(weights.shape[-1]):
            share = weights[..., place]
            if may_look(weights, False) and not share.any():
                continue
            ended = torch.cat([embeds[:, :, :place], end.expand_as(embeds[:, :, :1])], dim=2)
            mask = torch.ones(ended.shape[:3], dtype=torch.bool, device=ended.device)
            total = total + share * self.write_from(source, mask, read, embeds=ended)
        return total

    def divergence_of_points(self, relaxed: RelaxedSequences, ids: torch.Tensor | None = None) -> torch.Tensor:
        """The KL divergence of q from p(c) by the chain rule along points (K, B, T, V): (K, B).

        The sum over steps t of (whether c is read so far) * KL(q(c_t | c before t) || p(c_t | c before t)). The end behind as
        many symbols as there may be costs q nothing, and p what it costs. p is given that c has a word, unless it
        may be empty.
        """
        if ids is not None:
            self.to_prior_ids(ids)  # refuses words that the prior does not have
        embeds = self._read_by("prior", relaxed, ids).embeds
        begin, _ = self.config.prior_start_and_end
        start = embedding_table(self.prior_part)[begin].expand_as(embeds[..., :1, :])
        inputs = torch.cat([start, embeds[..., :-1, :]], dim=-2)
        # Whether the prior learns is a matter of its weights; the gradient of the points runs through it in any case.
        with self.reading_prior() as prior:
            logits = prior(inputs_embeds=inputs.flatten(0, 1), return_dict=True).logits
        log_p = logits.to(relaxed.log_probs.dtype).log_softmax(-1).unflatten(0, embeds.shape[:2])
        log_p = self.prior_log_probs(log_p)
        log_end = log_p[..., self.config.eos_token_id]
        if ids is None:
            log_p = log_p[..., :-1, : relaxed.points.shape[-1]]
        else:
            log_p = log_p[..., :-1, :].gather(-1, ids.unsqueeze(1).expand_as(relaxed.log_probs))
        log_q = relaxed.log_probs
        # 0 log 0 is 0, and has no gradient.
        steps = (log_q.exp() * (log_q - log_p).masked_fill(log_q == -torch.inf, 0.0)).sum(-1)
        weights = reading_weights(relaxed.end_weights)
        kl = (weights[..., :-1] * steps).sum(-1) - weights[..., -1] * log_end[..., -1]
        kl = kl if self.config.allow_empty else kl + log_not(log_end[..., 0])
        factors = self.log_length_factors(relaxed.end_weights.shape[-1] - 1)
        if factors is None:
            return kl
        return kl - (relaxed.end_weights * factors.masked_fill(factors == -torch.inf, 0.0)).sum(-1)

    def _read_by(self, name: str, relaxed: RelaxedSequences, ids: torch.Tensor | None) -> EmbeddedSequences:
        """The points as one of the parts reads them."""
        part = self.prior_part if name == "prior" else self.get_submodule(name)
        # A bag of words has the argument only to refuse it.
        takes_embeddings = "inputs_embeds" in inspect.signature(part.forward).parameters
        if not takes_embeddings or isinstance(part, BagOfWordsEncoderModel):
            raise ValueError(
                f"The estimator {self.config.estimator!r} shows compressions as means of embeddings, and the {name}, a "
                f"{part.config.model_type!r} model, reads ids only: choose another one, or an estimator that scores samples, "
                "such as 'rloo'."
            )
        table, vocabulary = embedding_table(part), relaxed.points.shape[-1]
        if name == "prior":
            table = self.in_decoders_order(table)
        if ids is None and len(table) < vocabulary:
            raise ValueError(
                f"The {name} knows {len(table)} tokens and q(c|x) writes {vocabulary}: with the estimator "
                f"{self.config.estimator!r} both know the tokens by the same ids. Choose such a part, or 'rloo'."
            )
        return embed_sequences(relaxed, table if ids is None else table[ids])
