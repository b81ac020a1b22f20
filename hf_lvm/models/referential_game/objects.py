"""What sender and receiver see: from objects to vectors, and which objects a game is played with."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from hf_lvm.backbones.encoders import build_encoder, check_positions, encode_tokens
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.distributions.noise import Generators, noise_of_positions
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.pooling import Pooling
from hf_lvm.layers.span_scores import init_linear
from hf_lvm.models.referential_game.configuration_referential_game import ReferentialGameConfig

NO_CANDIDATE = -1


class ObjectEncoder(nn.Module):
    """Objects (N, ...) to vectors (N, object_size).

    Args:
        config: which objects they are, and the sizes of the layers.
        encoder: of the object_type `text`, a model to use in the place of a new one.
    """

    def __init__(self, config: ReferentialGameConfig, encoder: PreTrainedModel | None = None):
        super().__init__()
        self.sizes = config.attribute_sizes if config.object_type == "attributes" else None
        self.encoder = self.pooling = self.embeddings = None
        if config.object_type == "text":
            self.encoder = build_encoder(config.object_encoder) if encoder is None else encoder
            two_ways = getattr(config.object_encoder, "bidirectional", False)
            self.pooling = Pooling(config.object_pooling, config.object_encoder.hidden_size, two_ways)
            self.layers = nn.Sequential(nn.Linear(config.object_encoder.hidden_size, config.object_size))
            return
        read = config.feature_size
        if self.sizes is None:
            self.register_buffer("feature_mean", torch.zeros(read))
            self.register_buffer("feature_scale", torch.ones(()))
        if self.sizes is not None:
            self.embeddings = nn.Embedding(sum(self.sizes), config.object_embedding_size)
            # Behind each other in one table: where the values of each attribute begin.
            starts = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)
            self.register_buffer("starts", starts)
            read = len(self.sizes) * config.object_embedding_size
        widths = [read, *[config.object_size] * config.object_layers]
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.ReLU(), nn.Linear(before, after)]
        self.layers = nn.Sequential(*layers[1:])

    def forward(self, objects: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors of objects (N, A), (N, F), or of texts (N, L) with their mask, padded on either side."""
        if self.encoder is not None:
            hidden = encode_tokens(self.encoder, objects, mask)
            return self.layers(self.pooling(hidden, mask))
        if self.embeddings is not None:
            return self.layers(self.embeddings(objects + self.starts).flatten(1))
        return self.layers(((objects - self.feature_mean) / self.feature_scale).to(self.layers[0].weight.dtype))

    def init_weights(self) -> None:
        """Where no weights were loaded."""
        if self.embeddings is not None:
            init.normal_(self.embeddings.weight, std=1.0)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                init_linear(layer)


@dataclass(frozen=True)
class Games:
    """B games over N objects.

    Attributes:
        targets: (B,), the object that each is about.
        labels: (B,), which candidate that is.
        candidates: (B, C), objects; None where all N objects stand in each game, in their order.
        inside: (B, C) bool, which candidates there are.
    """

    targets: torch.Tensor
    labels: torch.Tensor
    candidates: torch.Tensor | None
    inside: torch.Tensor

    def scores(self, messages: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        """g.f of messages (..., B or 1, S) and objects (N, S): (..., B, C), float32 or better; -inf where no candidate is."""
        dtype = torch.promote_types(objects.dtype, torch.float32)
        with torch.autocast(objects.device.type, enabled=False):
            messages, objects = messages.to(dtype), objects.to(dtype)
            if self.candidates is None:
                scores = messages @ objects.T
            else:
                scores = torch.einsum("...bs,bcs->...bc", messages, objects[self.candidates.clamp(min=0)])
        return scores.masked_fill(~self.inside, -torch.inf)


class SeenObjects:
    """Methods of a referential game about objects and who they are played with."""

    def build_objects(self, config: ReferentialGameConfig, encoder: PreTrainedModel | None = None) -> None:
        """What sender and receiver see objects by.

        Raises:
            ValueError: a config that does not say how large objects are.
        """
        config.check_sizes()
        if encoder is not None:
            encoder = self.take_adapted("object_encoder", encoder)
        self.sender_objects = ObjectEncoder(config, encoder)
        self.receiver_objects = None if config.share_object_encoder else ObjectEncoder(config)
        self.build_adapters()
        if self.receiver_objects is not None and encoder is not None:
            self.receiver_objects.encoder.load_state_dict(encoder.state_dict())

    @torch.no_grad()
    def fit_features(self, features: torch.Tensor) -> None:
        """Let features be read less the mean of these (N, F), and over one deviation for all of them, which is saved.

        One for all keeps their proportions: a dimension that hardly varies, such as a collapsed one of a latent, stays small.

        Raises:
            ValueError: another object_type, or features that are all the same.
        """
        if self.config.object_type != "features":
            raise ValueError(f"Features are of the object_type 'features', and this is {self.config.object_type!r}.")
        features, _ = self.check_objects(features.to(self.device))
        mean = features.double().mean(0)
        scale = (features.double() - mean).square().mean().sqrt()
        if scale == 0:
            raise ValueError(f"The {len(features)} vectors of features are all the same: there is nothing to tell apart.")
        for encoder in (self.sender_objects, self.receiver_objects):
            if encoder is not None:
                encoder.feature_mean.copy_(mean)
                encoder.feature_scale.copy_(scale)

    def check_objects(
        self, objects: torch.Tensor | None, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Objects as the model reads them, texts with their tokens first; see `forward`.

        Raises:
            ValueError: none, or others than the config says.
        """
        config = self.config
        if objects is None:
            raise ValueError(f"Pass objects: those of the batch, of the object_type {config.object_type!r}.")
        size = {"attributes": len(config.attribute_sizes or ()), "features": config.feature_size}.get(config.object_type)
        if objects.dim() != 2 or (size is not None and objects.shape[1] != size):
            wanted = "L" if size is None else size
            raise ValueError(f"objects has shape {tuple(objects.shape)}: (N, {wanted}) is needed, one object a row.")
        floats = config.object_type == "features"
        if objects.is_floating_point() != floats:
            raise ValueError(
                f"objects has type {objects.dtype}, and the object_type {config.object_type!r} is "
                f"{'floats' if floats else 'integers'}."
            )
        look = may_look(objects, False)
        if config.object_type == "text":
            mask = torch.ones_like(objects) if mask is None else mask
            if mask.shape != objects.shape:
                raise ValueError(f"object_mask has shape {tuple(mask.shape)} and objects {tuple(objects.shape)}.")
            if look and (empty := (mask == 0).all(1)).any():
                raise ValueError(f"Object(s) {rows_of(empty)} have no token.")
            lengths = (mask != 0).sum(1).tolist() if look else [objects.shape[1]]
            check_positions(self.sender_objects.encoder, lengths, "object")
            return left_align(objects.masked_fill(mask == 0, 0), mask)
        if mask is not None:
            raise ValueError(f"object_mask is for texts, and the object_type is {config.object_type!r}: leave it out.")
        if look and floats and not objects.isfinite().all():
            raise ValueError(f"The features of object(s) {rows_of(~objects.isfinite().all(1))} are not finite.")
        if look and not floats:
            sizes = objects.new_tensor(config.attribute_sizes)
            wrong = ((objects < 0) | (objects >= sizes)).any(1)
            if wrong.any():
                raise ValueError(
                    f"Object(s) {rows_of(wrong)} have values outside attribute_sizes, {config.attribute_sizes}: a value is 0 "
                    "or more and less than its size."
                )
        return objects, mask

    def vectors(self, objects: torch.Tensor, mask: torch.Tensor | None, by_receiver: bool = False) -> torch.Tensor:
        """Vectors (N, S) of objects as `check_objects` returns them, by the encoder of the sender or the receiver."""
        encoder = self.sender_objects
        if by_receiver and self.receiver_objects is not None:
            encoder = self.receiver_objects
        return encoder(objects, mask)

    def games_of(
        self,
        objects: torch.Tensor,
        mask: torch.Tensor | None,
        candidates: torch.Tensor | None,
        labels: torch.Tensor | None,
        generator: Generators = None,
    ) -> Games:
        """The games of a batch; see `forward`.

        Raises:
            ValueError: candidates that are none, that are equal, or too few.
        """
        count = len(objects)
        if candidates is None:
            return self._games_in_batch(objects, mask, labels, generator)
        if labels is None:
            raise ValueError("Pass labels beside candidates: which candidate is the target of each game.")
        if candidates.dim() != 2 or labels.shape != candidates.shape[:1]:
            raise ValueError(
                f"candidates has shape {tuple(candidates.shape)} and labels {tuple(labels.shape)}: (B, C) and (B,) are needed."
            )
        inside = candidates != NO_CANDIDATE
        if may_look(candidates, False):
            wrong = ((candidates < NO_CANDIDATE) | (candidates >= count)).any(1)
            if wrong.any():
                raise ValueError(
                    f"The candidates of game(s) {rows_of(wrong)} are numbers of no object: there are {count}, and "
                    f"{NO_CANDIDATE} stands where no candidate is."
                )
            none = (labels < 0) | (labels >= candidates.shape[1])
            none |= ~inside.gather(1, labels.clamp(0, candidates.shape[1] - 1).unsqueeze(1)).squeeze(1)
            if none.any():
                raise ValueError(f"The labels of game(s) {rows_of(none)} are no candidate of theirs.")
            self._check_differ(kinds_of_objects(objects, mask), candidates, inside)
        targets = candidates.gather(1, labels.unsqueeze(1)).squeeze(1)
        return Games(targets, labels, candidates, inside)

    @staticmethod
    def _check_differ(kinds: torch.Tensor, candidates: torch.Tensor, inside: torch.Tensor) -> None:
        # Places without a candidate are told apart by numbers that no object has.
        places = -1 - torch.arange(candidates.shape[1], device=kinds.device)
        ordered = torch.where(inside, kinds[candidates.clamp(min=0)], places).sort(1).values
        equal = (ordered[:, 1:] == ordered[:, :-1]).any(1)
        if equal.any():
            raise ValueError(
                f"Game(s) {rows_of(equal)} have identical candidates, which no message could tell apart: give each game "
                "different ones."
            )
        alone = inside.sum(1) < 2
        if alone.any():
            raise ValueError(f"Game(s) {rows_of(alone)} have one candidate: there is nothing to tell, so give 2 or more.")

    def _games_in_batch(
        self, objects: torch.Tensor, mask: torch.Tensor | None, labels: torch.Tensor | None, generator: Generators
    ) -> Games:
        count, wanted = len(objects), self.config.num_distractors
        labels = torch.arange(count, device=objects.device) if labels is None else labels
        if labels.dim() != 1 or (may_look(labels, False) and bool(((labels < 0) | (labels >= count)).any())):
            raise ValueError(
                f"labels, {tuple(labels.shape)}, must be objects of the batch, (B,) numbers from 0 to {count - 1}."
            )
        kinds = kinds_of_objects(objects, mask)
        others = kinds.unsqueeze(0) != kinds[labels].unsqueeze(1)  # (B, N)
        needed = 1 if wanted is None else wanted
        fewest = int(others.sum(1).min()) if may_look(others, False) else count - 1
        if fewest < needed:
            raise ValueError(
                f"A game asks for {needed} distractors, and a batch of {count} objects has {fewest} that differ from its "
                "target: lower num_distractors, or make the batch larger (a last batch that is smaller is left out with "
                "dataloader_drop_last)."
            )
        if wanted is not None:
            noise = noise_of_positions((), len(labels), count, generator, objects.device)
            chosen = noise.masked_fill(~others, 2.0).topk(wanted, dim=1, largest=False).indices
            others = others & torch.zeros_like(others).scatter(1, chosen, True)
        own = torch.zeros_like(others).scatter(1, labels.unsqueeze(1), True)
        return Games(labels, labels, None, others | own)


def kinds_of_objects(objects: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """A number for each of N objects, equal for equal ones: (N,)."""
    if mask is not None:
        objects = torch.where(mask != 0, objects, -1)
    return torch.unique(objects, dim=0, return_inverse=True)[1]
