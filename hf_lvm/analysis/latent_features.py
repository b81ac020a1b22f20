"""Latents of texts in scikit-learn: a transformer for its pipelines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from hf_lvm.analysis.feature_extraction import METHOD_OF_KIND, LatentExtractor, reads_conditions
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.data import LatentTextProcessor


class LatentFeatures(TransformerMixin, BaseEstimator):
    """Texts to what a trained model says of them: a latent vector, probabilities of classes, or shares of topics.

    There is nothing to fit: `fit` loads the model where it is given by name, and checks that it has such features.

    Example:

    ```python
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(LatentFeatures("runs/mine"), LogisticRegression())
    classifier.fit(texts, labels).predict(["a new text"])
    ```

    Args:
        model: the folder of a run, a hub id, or a model, which is not changed; clones share it. By name it is loaded once by
            each clone, and a pickle of one that is not fitted holds no weights, which suits `n_jobs`.
        processor: of a model that is given itself; of one given by name it is found beside it.
        batch_size: texts encoded at once.
        max_length: longer texts are cut to so many tokens; without it, one longer than the encoder's positions is an error.

    Attributes:
        extractor_: the fitted `LatentExtractor`.
        n_features_out_: F.
    """

    def __init__(
        self,
        model=None,
        processor: LatentTextProcessor | None = None,
        batch_size: int = 64,
        max_length: int | None = None,
    ):
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        self.max_length = max_length

    def fit(self, X: Sequence[str], y=None) -> "LatentFeatures":
        """Load what is to be loaded; the texts are not looked at.

        Raises:
            ValueError: no model, a model without a processor, one whose latent is no row of features, or a conditional one:
                scikit-learn hands over texts alone.
        """
        model, processor = self.model, self.processor
        if isinstance(model, str | Path):
            model, own = load_trained(str(model), tuple(METHOD_OF_KIND.values()))
            processor = own if processor is None else processor
        if model is None or processor is None:
            raise ValueError("LatentFeatures needs the folder of a run, or a model and its processor.")
        if reads_conditions(model):
            raise ValueError(
                f"prior_type {model.config.prior_type!r} reads a condition beside each text, and scikit-learn hands over "
                "texts alone: call LatentExtractor(model, processor).features(texts, conditions), and give the features to it."
            )
        self.extractor_ = LatentExtractor(model, processor, batch_size=self.batch_size, max_length=self.max_length)
        self.n_features_out_ = len(self.extractor_.names)
        return self

    def transform(self, X: Sequence[str]) -> np.ndarray:
        """N texts -> (N, F) in float32.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: something else than a list of texts.
        """
        check_is_fitted(self, "extractor_")
        return self.extractor_.features(X)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the F features: `latent0`, ...; `variable0_class0`, ...; `topic0`, ..."""
        check_is_fitted(self, "extractor_")
        return np.asarray(self.extractor_.names, dtype=object)

    def __sklearn_clone__(self) -> "LatentFeatures":
        # The usual clone would copy every weight.
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.requires_fit = True, False, True
        return tags
