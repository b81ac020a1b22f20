"""p(word | shares of topics): what a topic says, what a document of several says, and where both begin."""

from collections.abc import Sequence

import torch
from scipy.sparse import csr_matrix

from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.models.neural_topic.word_vectors import start_of_topics

# Product of the lengths of word and topic vectors where topics begin as clusters: a word in the middle of a cluster is e^8
# times as probable there as one that has nothing to do with it.
START_SCALE = 8.0


class TopicsAndWords:
    """Methods of a neural topic model about its words."""

    @property
    def is_word(self) -> torch.Tensor:
        """(V,) bool: which tokens are words of a document. The background has each of them, and nothing else."""
        return self.background > 0

    def shares(self, latents: torch.Tensor) -> torch.Tensor:
        """The shares of the topics, (..., K), that latents (..., K) mean.

        Raises:
            ValueError: another number of topics.
        """
        if latents.shape[-1] != self.config.num_topics:
            raise ValueError(
                f"Latents of shape {tuple(latents.shape)} do not fit: this model has {self.config.num_topics} topics."
            )
        return latents if self.config.posterior_type == "dirichlet" else latents.softmax(-1)

    def _scores(self) -> torch.Tensor:
        """Of every token under every topic: (K, V), in float32 or better."""
        if self.config.embedding_size is None:
            return self.topic_scores.to(torch.promote_types(self.dtype, torch.float32))
        dtype = torch.promote_types(self.dtype, torch.float32)
        return self.topic_vectors.to(dtype) @ self.word_vectors.to(dtype).T

    def topic_log_probs(self) -> torch.Tensor:
        """log p(word | topic): (K, V), of documents about one topic alone; without the background. -inf for no words."""
        with torch.autocast(self.device.type, enabled=False):
            scores = self._scores()
            if self.config.word_model == "product":
                scores = scores + self.word_bias.to(scores.dtype)
            return scores.masked_fill(~self.is_word, -torch.inf).log_softmax(-1)

    def word_log_probs(self, shares: torch.Tensor) -> torch.Tensor:
        """log p(word | shares of the topics): (..., V) from (..., K); -inf for tokens that are no words."""
        with torch.autocast(shares.device.type, enabled=False):
            if self.config.word_model == "product":
                scores = self._scores()
                dtype = torch.promote_types(shares.dtype, scores.dtype)
                scores = shares.to(dtype) @ scores.to(dtype) + self.word_bias.to(dtype)
                return scores.masked_fill(~self.is_word, -torch.inf).log_softmax(-1)
            topics = self.topic_log_probs().exp()
            dtype = torch.promote_types(shares.dtype, topics.dtype)
            own, background = 1 - self.config.background_share, self.config.background_share
            mixed = own * (shares.to(dtype) @ topics.to(dtype)) + background * self.background.to(dtype)
            return mixed.clamp(min=torch.finfo(dtype).tiny).log().masked_fill(~self.is_word, -torch.inf)

    def bag_of(self, labels: torch.Tensor) -> torch.Tensor:
        """How often each document has each word: (B, V) from labels (B, T); tokens that are no words count 0.

        Raises:
            ValueError: a document without any word, or tokens outside the vocabulary.
        """
        unknown = (labels >= self.config.vocab_size).any(1)
        if may_look(labels, False) and unknown.any():
            raise ValueError(
                f"The labels of row(s) {rows_of(unknown)} have tokens outside the vocabulary, 0 to "
                f"{self.config.vocab_size - 1}: use the tokenizer that the model was built for."
            )
        tokens = labels.clamp(min=0)
        counted = (labels >= 0) & self.is_word[tokens]
        empty = (~counted.any(1)).nonzero().flatten()
        if len(empty) > 0:
            raise ValueError(
                f"Document {int(empty[0])} of the batch has no word of the vocabulary: leave such documents out, or count "
                "more tokens as words (ignored_token_ids)."
            )
        bag = torch.zeros(len(labels), self.config.vocab_size, device=labels.device, dtype=self.background.dtype)
        return bag.scatter_add_(1, tokens, counted.to(bag.dtype))

    def score(self, samples: torch.Tensor, bag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(x|z) of samples (R, B, K) of bags (B, V), nats per document: (R, B); log p(word|z) of the first: (B, V)."""
        log_probs = self.word_log_probs(self.shares(samples))
        # Zero times an infinite surprise would be no number.
        finite = log_probs.masked_fill(~self.is_word, 0.0)
        with torch.autocast(samples.device.type, enabled=False):
            return -torch.einsum("bv,rbv->rb", bag.to(finite.dtype), finite), log_probs[0]

    @torch.no_grad()
    def topics(
        self, top_words: int = 10, *, processor: LatentTextProcessor | None = None
    ) -> list[list[str]] | list[list[int]]:
        """The most probable words of every topic, the best first; their token ids without a processor.

        Raises:
            ValueError: more words than the vocabulary has.
        """
        words = int(self.is_word.sum())
        if not 1 <= top_words <= words:
            raise ValueError(f"top_words is {top_words}, and the vocabulary has {words} words: give a number from 1 to that.")
        ids = self.topic_log_probs().topk(top_words, dim=-1).indices.tolist()
        return ids if processor is None else [processor.decoder_tokenizer.convert_ids_to_tokens(row) for row in ids]

    @torch.no_grad()
    def start_from_documents(self, labels: Sequence[Sequence[int]], seed: int = 0) -> None:
        """Begin with what training documents say without any training.

        The background, and the bias of a `product`, become the frequencies of the words. Topics with an `embedding_size`
        become clusters of word vectors; see `hf_lvm.models.neural_topic.word_vectors`.

        Args:
            labels: tokens of each document, as the column `labels` of `encode_dataset`.
            seed: of the clusters.

        Raises:
            ValueError: no document has a word, or there are fewer words than topics or dimensions.
        """
        counts, words = self._count(labels)
        frequencies = torch.from_numpy(counts.sum(0)).double().flatten() + 0.5
        places = words.to(self.background.device)
        self.background[places] = (frequencies / frequencies.sum()).to(self.background)
        if self.config.word_model == "product":
            self.word_bias[places] = self.background[places].log().to(self.word_bias)
        if self.config.embedding_size is not None:
            vectors, centers = start_of_topics(counts, self.config.num_topics, self.config.embedding_size, seed)
            self.word_vectors[places] = (START_SCALE**0.5 * vectors).to(self.word_vectors)
            self.topic_vectors.copy_(START_SCALE**0.5 * centers)

    def _count(self, labels: Sequence[Sequence[int]]) -> tuple[csr_matrix, torch.Tensor]:
        """How often each document has each word, (N, W), and the tokens that the W words are."""
        is_word = self.is_word.cpu()
        words = is_word.nonzero().squeeze(-1)
        column = (is_word.cumsum(0) - 1).tolist()
        known = is_word.tolist()
        pairs = [(row, column[token]) for row, ids in enumerate(labels) for token in ids if token >= 0 and known[token]]
        if not pairs:
            raise ValueError("No document has a word of the vocabulary to start from: see ignored_token_ids of the config.")
        rows, columns = zip(*pairs, strict=True)
        return csr_matrix(([1.0] * len(pairs), (rows, columns)), shape=(len(labels), len(words))), words
