"""A referential game: a sender says which object is meant, a receiver picks it among others (Havrylov and Titov 2017).

x is the target's number among its candidates, known to the sender as an object; the latent z is the message m; p(x|m) is the
receiver's softmax over the candidates. What a batch is made of, N objects and B games of C candidates:

| field | shape | |
|---|---|---|
| `objects` | (N, A), (N, F) or (N, L) | integers of attributes, features, or token ids, each object once |
| `object_mask` | (N, L) | of texts, nonzero at tokens |
| `candidates` | (B, C) | numbers of objects, -1 where no candidate is; without it all N objects stand in each game |
| `labels` | (B,) | which candidate is the target; without candidates an object, and by default each once, B = N |

So a batch of objects alone is a game of each against all others, and with `num_distractors` in the config against so many
that are drawn for it by its own generator. An object that equals the target never is a distractor that is drawn; among given
candidates it is an error. Objects are encoded once, however many games they stand in.

A latent is a message as symbols, EOS and PAD behind it: (B, max_length + 1). EOS is in log q exactly once; behind max_length
symbols it is certain.
"""

from dataclasses import dataclass

import torch
from torch.distributions import Distribution
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.backbones.adapters import refuse_adapter
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.estimators import Draws, build_estimator
from hf_lvm.generation.enumerable_sequences import EnumerableSequences
from hf_lvm.models.referential_game.configuration_referential_game import RELAXED, ReferentialGameConfig
from hf_lvm.models.referential_game.likelihood import GameLikelihood
from hf_lvm.models.referential_game.objects import Games, SeenObjects
from hf_lvm.models.referential_game.parts import GameParts
from hf_lvm.models.referential_game.playing import Playing
from hf_lvm.models.referential_game.receiver import ReceivingPart
from hf_lvm.models.referential_game.relaxed_game import PlayedGame, RelaxedGame
from hf_lvm.models.referential_game.sender import SendingPart
from hf_lvm.objectives import check_combination, discrete_bound, draw_for, stepwise_bound
from hf_lvm.objectives.known_latents import draw_mode


@dataclass
class ReferentialGameOutput(ModelOutput):
    """What a forward pass of a referential game returns. B games, C candidates, R messages of each.

    Attributes:
        loss: scalar, nats per game: the mean over games of the (weighted) negative bound on log p(x|candidates). With the
            prior_type `none`, or a weight of 0, the expected loss of the game alone, and with the game_loss `hinge` no bound.
        reconstruction: (B,), nats: E_q[-log p(x|candidates, m)]; with the game_loss `hinge` that loss, which has no unit.
        kl: (B,), KL(q(m|object) || p(m)) in nats, never weighted: the mean of log q - log p over messages, of which it may be
            negative, or exact under `exact`; under the prior_type `none` that of the uniform p(m).
        logits: (B, C), the receiver's scores after one message of each game, the first that was drawn, or under `exact` the
            most probable one: -inf where no candidate is.
        latents: (R, B, T), the messages that the terms were computed from.
        posterior: q(m|object).
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class ReferentialGameModel(
    Playing, GameLikelihood, RelaxedGame, SendingPart, ReceivingPart, SeenObjects, GameParts, PreTrainedModel
):
    """A sender that writes a message about an object, and a receiver that finds the object among others.

    Example:

    ```python
    >>> from hf_lvm import ReferentialGameConfig, ReferentialGameModel

    >>> model = ReferentialGameModel(ReferentialGameConfig(attribute_sizes=[4, 4, 4]))
    >>> objects = torch.tensor([[0, 1, 2], [3, 1, 0], [2, 2, 2]])
    >>> model(objects).logits.shape
    torch.Size([3, 3])
    >>> model.listen(model.speak(objects), objects).exp().sum(1)
    tensor([1., 1., 1.])

    ```

    Args:
        config: what it is made of.
        object_encoder, sender, receiver, prior: models to use as parts, instead of new ones from the config. Where sender and
            receiver do not share an object_encoder, the receiver has a copy.

    Raises:
        ValueError: parts that do not go together or with the symbols.
    """

    config: ReferentialGameConfig
    base_model_prefix = "referential_game"
    main_input_name = "objects"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    has_kl_per_dimension = False

    def __init__(
        self,
        config: ReferentialGameConfig,
        object_encoder: PreTrainedModel | None = None,
        sender: PreTrainedModel | None = None,
        receiver: PreTrainedModel | None = None,
        prior: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        for name, part in (("sender", sender), ("receiver", receiver), ("prior", prior)):
            refuse_adapter(name, part)
        self.build_objects(config, object_encoder)
        self.build_sender(config, sender, prior)
        self.build_receiver(config, receiver)
        # One config object a part, so that a change of the one is a change of the other.
        for name in ("sender", "receiver", "prior"):
            if getattr(self, name) is not None:
                setattr(self.config, name, getattr(self, name).config)
        if self.sender_objects.encoder is not None:
            self.config.object_encoder = self.sender_objects.encoder.config
        self.check_vocabularies()
        self.post_init()
        # Afterwards, because what an estimator learns begins where the estimator says, and not as other layers do.
        self.renew_estimator()
        self.calibrate()

    def renew_estimator(self) -> None:
        """Begin with the gradient estimator that the config names; `minimum_risk` has none."""
        config = self.config
        config.validate_game()
        self.estimator = None
        if config.estimator is not None:
            self.estimator = build_estimator(
                config.estimator,
                feature_size=config.object_size,
                enumeration_budget=config.enumeration_budget,
                **{key: getattr(config, key) for key in ("baseline_decay", "temperature", "learned_temperature")},
            )
        self.freeze_parts()

    @property
    def reports_bound(self) -> bool:
        """Whether `reconstruction` and `kl` sum to a negative bound on log p(x|candidates)."""
        return self.config.game_loss == "likelihood"

    def encode(self, objects: torch.Tensor, object_mask: torch.Tensor | None = None) -> EnumerableSequences:
        """q(m|object) of N objects, as of `forward`: batch shape (N,)."""
        seen = self.check_objects(objects, object_mask)
        return self.posterior_of(self.vectors(*seen))

    def forward(
        self,
        objects: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        candidates: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        latents: torch.LongTensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        temperature: float | None = None,
        return_dict: bool | None = None,
    ) -> ReferentialGameOutput:
        """The loss of games, or the score of given messages.

        Args:
            objects, object_mask, candidates, labels: the games, see the module.
            latents: (B, T) or (R, B, T), messages to play the games with instead of what the sender says: `kl` is None, `loss`
                and `reconstruction` the mean of -log p(x|candidates, m).
            sample_posterior: messages from q(m|object) as the estimator draws them; otherwise the greedily best one.
            generator: None, one generator, or one for each game: of the distractors that are drawn, and of the messages.
            kl_weight: weight of the KL beside the config's prior_weight, in `loss` and in the learning signal.
            free_bits, free_bits_mode: 0 and "none".
            temperature: of relaxed samples, instead of the config's.

        Raises:
            ValueError: objects, candidates or messages that do not fit the config or each other; free bits.
        """
        config = self.config
        seen = self.check_objects(objects, object_mask)
        games = self.games_of(*seen, candidates, labels, generator)
        vectors = self.vectors(*seen, by_receiver=True)
        if latents is not None:
            self.check_messages(latents)
            messages = latents.unsqueeze(0) if latents.dim() == 2 else latents
            scores = games.scores(self.message_vectors(messages), vectors)
            reconstruction = -self.game_log_likelihood(scores, games).mean(0)
            return ReferentialGameOutput(
                loss=reconstruction.mean(), reconstruction=reconstruction, logits=scores[0], latents=messages
            )
        check_combination(
            config.objective, config.estimator, config.num_samples, latents="short_sequence", free_bits_mode=free_bits_mode
        )
        if free_bits_mode != "none":
            raise ValueError("The KL of messages has no part that free bits could hold up: set free_bits to 0.")
        kl_weight = kl_weight * config.weight_of_kl
        told = self._told(seen, games, vectors)
        posterior = self.posterior_of(told)
        if config.estimator in RELAXED and sample_posterior and self.training:
            temperature = self.estimator.temperature_of(told.detach()) if temperature is None else temperature
            played = self.relaxed_game(games, vectors, posterior, temperature, generator, kl_weight=kl_weight)
        else:
            played = self._sampled_game(games, vectors, posterior, told, sample_posterior, generator, kl_weight)
        return ReferentialGameOutput(
            loss=played.terms.loss.mean(),
            reconstruction=played.terms.reconstruction,
            kl=played.terms.kl,
            logits=played.logits,
            latents=played.messages,
            posterior=posterior,
        )

    def _told(
        self, seen: tuple[torch.Tensor, torch.Tensor | None], games: Games, vectors: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The vectors of the targets, (B, S), by the sender.

        Args:
            vectors: of all objects by the receiver, which are the sender's, too, where the two share an encoder.
        """
        if vectors is not None and self.receiver_objects is None:
            return vectors[games.targets]
        return self.vectors(*(None if each is None else each[games.targets] for each in seen))

    def _posterior_of_targets(self, seen: tuple[torch.Tensor, torch.Tensor | None], games: Games) -> EnumerableSequences:
        return self.posterior_of(self._told(seen, games))

    def _sampled_game(
        self,
        games: Games,
        vectors: torch.Tensor,
        posterior: EnumerableSequences,
        told: torch.Tensor,
        sample_posterior: bool,
        generator: Generators,
        kl_weight: float,
    ) -> PlayedGame:
        """The terms of messages that are drawn, or all written down."""
        config = self.config
        draws = self._draw(posterior, told, not sample_posterior, generator)
        scores = games.scores(self.message_vectors(draws.latents), vectors)
        log_likelihood, prior = self.game_log_likelihood(scores, games), self.message_prior()
        if config.token_credit and sample_posterior:
            terms = stepwise_bound(
                draws,
                log_likelihood,
                prior.symbol_log_probs(draws.latents),
                posterior.symbol_log_probs(draws.latents),
                kl_weight=kl_weight,
            )
        else:
            terms = discrete_bound(
                config.objective,
                draws,
                log_likelihood,
                prior,
                kl_weight=kl_weight,
                risk_sharpness=config.risk_sharpness,
            )
        if config.estimator == "exact" and sample_posterior:
            logits = scores[draws.log_prob.argmax(0), torch.arange(scores.shape[1], device=scores.device)]
        else:
            logits = scores[0]
        return PlayedGame(terms, draws.latents, logits)

    def _draw(self, posterior: EnumerableSequences, told: torch.Tensor, certain: bool, generator: Generators) -> Draws:
        """The messages that the objective is computed from."""
        config = self.config
        if certain:
            return draw_mode(config.objective, self.estimator, posterior)
        if config.estimator in RELAXED:
            return Draws(posterior.sample((config.num_samples,), generator), posterior)
        return draw_for(config.objective, self.estimator, posterior, config.num_samples, generator, features=told)


AutoConfig.register(ReferentialGameConfig.model_type, ReferentialGameConfig)
AutoModel.register(ReferentialGameConfig, ReferentialGameModel)
AutoProcessor.register(ReferentialGameConfig, LatentTextProcessor)
