"""log p(x|candidates): summed over all messages where they are few, importance-weighted otherwise."""

import torch

from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights

METHODS = ("auto", "exact", "importance")


class GameLikelihood:
    """Methods of a referential game that compute or estimate the likelihood of targets."""

    def estimate_log_likelihood(
        self,
        objects: torch.Tensor,
        object_mask: torch.Tensor | None = None,
        candidates: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        num_samples: int = 100,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
        method: str = "auto",
    ) -> LikelihoodEstimate:
        """log p(x|candidates) = log sum over messages of p(m) p(x|candidates, m) of each game, (B,), nats, without dropout.

        It is what somebody knows of the target who hears what p(m) says by itself: a game that is won by what the sender adds
        to p(m) has a likelihood near that of a guess, and its bound is lower still.

        Args:
            objects, object_mask, candidates, labels: as of `forward`.
            num_samples: of `importance`: K messages of q(m|object).
            chunk_size: messages of each game scored at once; all by default.
            keep_log_weights: return the log weights (K, B) of `importance` beside the estimate.
            method: `exact`, the sum over all messages; `importance` (Burda et al. 2016); or `auto`, the first where there are
                no more messages than enumeration_budget.

        Raises:
            ValueError: the game_loss `hinge`, which has no likelihood; another method; `exact` beyond the budget.
        """
        config = self.config
        if config.game_loss != "likelihood":
            raise ValueError(
                f"game_loss {config.game_loss!r} has no likelihood, and so no bound on one: train and measure such a game by "
                "its accuracy (`play`), or choose the game_loss 'likelihood'."
            )
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}: choose one of {', '.join(map(repr, METHODS))}.")
        few = config.number_of_messages <= config.enumeration_budget
        if method == "exact" and not few:
            raise ValueError(
                f"There are {config.number_of_messages:,} messages, and enumeration_budget is {config.enumeration_budget:,}: "
                "raise it, or choose the method 'importance'."
            )
        with in_evaluation_mode(self):
            seen = self.check_objects(objects, object_mask)
            games = self.games_of(*seen, candidates, labels, generator)
            vectors, prior = self.vectors(*seen, by_receiver=True), self.message_prior()
            posterior = self._posterior_of_targets(seen, games)
            exact = few and method != "importance"
            # Drawn at once, so that the result does not depend on the size of the chunks.
            messages = posterior.enumerate_support() if exact else posterior.sample((num_samples,), generator)
            log_weights = []
            for start in range(0, len(messages), chunk_size or len(messages)):
                some = messages[start : start + (chunk_size or len(messages))]
                scores = games.scores(self.message_vectors(some), vectors)
                weights = self.game_log_likelihood(scores, games).double() + prior.log_prob(some).double()
                log_weights.append(weights if exact else weights - posterior.log_prob(some).double())
        log_weights = torch.cat(log_weights)
        if not exact:
            return estimate_from_log_weights(log_weights, keep_log_weights)
        log_likelihood = torch.logsumexp(log_weights, 0)
        return LikelihoodEstimate.exactly(log_likelihood)
