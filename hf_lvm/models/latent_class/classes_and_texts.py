"""From classes to texts, and from texts to classes: what a latent class model is asked for once it is trained."""

from collections.abc import Sequence

import torch
from transformers.generation.utils import GenerateOutput

from hf_lvm.data import LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import check_classes


class ClassesAndTexts:
    """Methods of a latent class model that write sentences of asked classes, and find the classes of sentences."""

    @torch.no_grad()
    def generate(
        self,
        classes: torch.LongTensor | None = None,
        latents: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
        generation_config=None,
        **options,
    ) -> GenerateOutput | torch.LongTensor:
        """Text of given classes, with every option of transformers' `generate`.

        Args:
            classes: (B, M), or (B,) where M is 1; what is -1 is drawn from the prior. Summed variables may be left out.
            latents: (B, M) values or (B, M, C) points, instead of classes.
            input_ids, attention_mask: (B, S), sentences whose most probable classes are taken, instead of both; without any
                of the three, draws from the prior.
            decoder_input_ids, decoder_attention_mask: (B, P), prompts to continue, padded on either side.
            condition_input_ids, condition_attention_mask: (B, S), the texts that a `conditional` prior reads.

        Returns:
            (B * num_return_sequences, L): start token + prompt + new tokens, padded on the right.

        Raises:
            ValueError: several of classes, latents and sentences, or classes that do not exist.
        """
        if classes is not None and (latents is not None or input_ids is not None):
            raise ValueError("Pass classes, latents or input_ids to generate from, one of the three.")
        if latents is None and input_ids is not None:
            with in_evaluation_mode(self):
                latents, input_ids = self.encode(input_ids, attention_mask).mode, None
        if classes is not None and self._says_all(classes):
            latents, classes = check_classes(classes, self.config.class_counts, len(classes)).to(self.device), None
        if latents is None or self.lacks_variables(latents):
            given = [each for each in (classes, latents, condition_input_ids, decoder_input_ids) if each is not None]
            with in_evaluation_mode(self):
                prior = self.prior_of(len(given[0]) if given else 1, condition_input_ids, condition_attention_mask)
            latents = self.completed(classes if latents is None else latents, prior.sample())
        return super().generate(
            latents=latents,
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            generation_config=generation_config,
            **options,
        )

    def _says_all(self, classes: torch.Tensor) -> bool:
        """Whether classes are a value of all of z, so that nothing is left to a prior."""
        complete = classes.shape[1:] == (self.config.num_variables,) or (classes.dim() == self.config.num_variables == 1)
        return complete and bool((classes >= 0).all())

    def completed(self, classes: torch.Tensor | None, drawn: torch.Tensor) -> torch.Tensor:
        """Draws of all variables (B, M), with what is known of them in its place.

        Args:
            classes: None, or (B, M) with -1 for what is not known; (B, M') says nothing of the summed variables, and (B,) is
                for one variable.
        """
        if classes is None:
            return drawn
        config, classes = self.config, classes.to(drawn.device)
        if classes.dim() == 1 and config.num_inferred == 1:
            classes = classes.unsqueeze(1)
        if self.lacks_variables(classes):
            classes = torch.nn.functional.pad(classes, (0, config.summed_variables), value=-1)
        known = check_classes(classes, config.class_counts, len(drawn))
        return torch.where(known < 0, drawn, known)

    def classify(
        self,
        texts: str | Sequence[str],
        *,
        processor: LatentTextProcessor,
        method: str = "encoder",
        conditions: str | Sequence[str] | None = None,
    ) -> torch.LongTensor:
        """The most probable class of each variable of each text: (B, M); the tensor twin is `class_probabilities`.

        Args:
            conditions: the texts that a `conditional` prior reads, for the method `bayes`.
        """
        inputs = processor(texts).to(self.device)
        if conditions is not None:
            read = processor(conditions).to(self.device)
            inputs |= {f"condition_{name}": read[name] for name in ("input_ids", "attention_mask")}
        return self.class_probabilities(**inputs, method=method).argmax(-1)

    def class_probabilities(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        method: str = "encoder",
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Probabilities of the classes of each variable, without dropout: (B, M, C).

        Args:
            input_ids, attention_mask: (B, S), read by `encoder`.
            labels: (B, T), read by `bayes`.
            condition_input_ids, condition_attention_mask: (B, S), the texts that a `conditional` prior reads, for `bayes`.
            method: `encoder`, q(z|x) in one pass; or `bayes`, p(z|x) from the decoder by Bayes' rule, a pass a value of z.

        Raises:
            ValueError: another method, no labels for `bayes`, or more values of z than `config.enumeration_budget`.
        """
        if method == "encoder":
            with in_evaluation_mode(self):
                return self.encode(input_ids, attention_mask).probs
        if method == "bayes":
            if labels is None:
                raise ValueError("The method 'bayes' scores the sentences under every class: pass their labels.")
            return self.true_posterior(labels, condition_input_ids, condition_attention_mask)
        raise ValueError(f"Unknown method {method!r}: choose 'encoder' or 'bayes'.")
