"""Do induced classes agree with gold classes, and does the posterior use the classes it has?

The `evaluate` module compares one predicted class an item (a sentence, a token) with its gold class. `compute_class_usage`
needs no gold: it reads posteriors q(z | x) and tells a latent variable that is used from one that collapsed.
"""

from collections.abc import Sequence

import evaluate
import numpy as np
from datasets import Features, Value
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.special import entr
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure
from sklearn.metrics.cluster import contingency_matrix

from hf_lvm.metrics.columns import check_pairs

_DESCRIPTION = """\
Compares classes that were found without labels (mixture components, states of a hidden Markov model) with gold classes.
V-measure (Rosenberg and Hirschberg 2007) is the harmonic mean of homogeneity, how much of the gold class is known from the
predicted one, and completeness, the reverse. Many-to-one and one-to-one are accuracies after the best mapping of predicted
to gold classes (Haghighi and Klein 2006, Johnson 2007). Many-to-one and homogeneity rise with the number of predicted
classes, up to 1 for a class an item, so give that number beside them. The adjusted Rand index (Hubert and Arabie 1985) is 0
in the mean for random classes. The mapping is made and scored on the same items, as in the literature."""

_INPUTS_DESCRIPTION = """
Args:
    predictions: predicted class of each item, a whole number from 0 on.
    references: gold class of each item, all strings or all whole numbers from 0 on.
        An item is a sentence or a token. Both lists are flat; tags of sentences are flattened without their padding, as in
        [tag for sentence in tags for tag in sentence]. Leave out, on both sides, items without a gold class.

Returns:
    v_measure, homogeneity, completeness: homogeneity is 1 when there is one gold class only, completeness when there is one
        predicted class only.
    many_to_one: accuracy when each predicted class stands for its most frequent gold class.
    one_to_one: accuracy under the best matching in which no two predicted classes stand for one gold class; items of
        classes left unmatched count as wrong.
    majority_share: share of the most frequent gold class, below which many_to_one never falls.
    adjusted_rand: 1 for equal partitions, 0 in the mean for random ones, at least -0.5.
    perplexity: exp of the entropy of the predicted classes, 1 when all items are in one class.
    used_classes, gold_classes, num_items: how many different ones there were on either side, and items.
    Everything but perplexity, adjusted_rand and the counts is a share in 0-1; the literature often prints percent.

Examples:
    >>> metric = hf_lvm.metrics.load("clustering")
    >>> metric.compute(predictions=[0, 0, 1, 2], references=["DT", "DT", "NN", "NN"])
"""

_CITATION = """\
@inproceedings{rosenberg2007vmeasure,
  title     = {V-Measure: A Conditional Entropy-Based External Cluster Evaluation Measure},
  author    = {Rosenberg, Andrew and Hirschberg, Julia},
  booktitle = {Proceedings of EMNLP-CoNLL},
  year      = {2007},
}
@inproceedings{johnson2007doesnt,
  title     = {Why Doesn't {EM} Find Good {HMM} {POS}-Taggers?},
  author    = {Johnson, Mark},
  booktitle = {Proceedings of EMNLP-CoNLL},
  year      = {2007},
}
@inproceedings{haghighi2006prototype,
  title     = {Prototype-Driven Learning for Sequence Models},
  author    = {Haghighi, Aria and Klein, Dan},
  booktitle = {Proceedings of HLT-NAACL},
  year      = {2006},
}
@article{hubert1985comparing,
  title     = {Comparing Partitions},
  author    = {Hubert, Lawrence and Arabie, Phipps},
  journal   = {Journal of Classification},
  year      = {1985},
}"""

# Rows further from 1 than the rounding of a softmax in float32 are not probabilities.
_ROW_SUM_TOLERANCE = 1e-4


def compute_clustering(
    predictions: Sequence[int] | ArrayLike, references: Sequence[int | str] | ArrayLike
) -> dict[str, float | int]:
    """Compare the predicted classes of N items with their gold classes.

    Args:
        predictions: (N,) predicted class of each sentence or token, whole numbers from 0 on.
        references: (N,) gold class of each, all strings or all whole numbers from 0 on.

    Returns:
        Shares in 0-1 unless said otherwise:

        - `v_measure`, `homogeneity`, `completeness` (Rosenberg and Hirschberg 2007, equal weights). With one gold class
          homogeneity is 1, with one predicted class completeness is 1.
        - `many_to_one`: items whose gold class is the most frequent one of their predicted class.
        - `one_to_one`: items that agree under the best one-to-one matching of predicted and gold classes. Classes that
          find no partner, because there are more on their side, count as wrong.
        - `majority_share`: items of the most frequent gold class; `many_to_one` is never below it.
        - `adjusted_rand` (Hubert and Arabie 1985): -0.5 to 1, and 0 in the mean for random classes.
        - `perplexity` of the distribution of predicted classes, 1 to `used_classes`.
        - `used_classes`, `gold_classes`, `num_items`: different predicted and gold classes, and N.

    Raises:
        ValueError: no item, lengths that differ, nested lists, something that is neither a string nor a whole number from
            0 on, or strings among whole numbers.
    """
    predicted, gold = _class_indices("predictions", predictions), _class_indices("references", references)
    check_pairs(predicted, gold)
    counts = contingency_matrix(gold, predicted)  # (gold classes, predicted classes)
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(gold, predicted)
    num_items = len(gold)
    return {
        "v_measure": float(v_measure),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "many_to_one": float(counts.max(axis=0).sum() / num_items),
        "one_to_one": float(counts[linear_sum_assignment(counts, maximize=True)].sum() / num_items),
        "majority_share": float(counts.sum(axis=1).max() / num_items),
        "adjusted_rand": float(adjusted_rand_score(gold, predicted)),
        "perplexity": float(np.exp(entr(counts.sum(axis=0) / num_items).sum())),
        "used_classes": counts.shape[1],
        "gold_classes": counts.shape[0],
        "num_items": num_items,
    }


def class_mutual_information(probabilities: ArrayLike) -> np.ndarray:
    """Mutual information I(x; z_m) between data point and latent variable under q, in nats.

    With x uniform over the N data points and q(z) = 1/N sum_n q(z | x_n) (Hoffman and Johnson 2016, "ELBO surgery"),

        I(x; z) = H(q(z)) - 1/N sum_n H(q(z | x_n)),   0 <= I(x; z) <= min(log N, log C),

    summed exactly over the C values; 0 means that the posterior is the same for every data point.

    Several variables are taken one by one, and the joint I(x; z_1..z_M) is not their sum. Always
    max_m I(x; z_m) <= I(x; z_1..z_M). Where the posterior is the product of its M parts, the conditional entropies add
    up and that of the aggregate does not exceed the sum of its parts, so I(x; z_1..z_M) <= sum_m I(x; z_m), and the gap is
    the total correlation of q(z): variables that repeat each other are counted twice. Where the posterior is no such
    product the sum is no bound at all: two variables can tell together what neither tells alone. For the joint itself pass
    the posterior over all C^M values as (N, C^M).

    Args:
        probabilities: (N, C) or (N, M, C), q(z | x_n) with rows that sum to 1. Zeros are allowed.

    Returns:
        Nats, of shape () or (M,), float64.

    Raises:
        ValueError: see [`compute_class_usage`].
    """
    aggregate_entropy, posterior_entropy = _entropies(_posterior(probabilities))
    return _difference(aggregate_entropy, posterior_entropy)


def compute_class_usage(
    probabilities: ArrayLike, threshold: float = 0.0, class_counts: Sequence[int] | None = None
) -> dict[str, float | int | list[float] | list[int]]:
    """Say whether categorical latent variables are used, from their posteriors of N data points.

    Read the numbers together. A posterior that ignores x has no mutual information whatever its perplexity; one that puts
    every x in the same class has a perplexity of 1; and where posteriors are nearly uniform, noise decides which class is
    the most probable, so that many look used.

    Args:
        probabilities: (N, C) for one variable with C classes, (N, M, C) for M of them: q(z_m | x_n), rows that sum to 1 up
            to the rounding of float32, which is divided out. Zeros are allowed.
        threshold: a class is used when it is the most probable one of at least one data point and of at least this share
            of them, 0-1. Of equally probable classes the first one counts.
        class_counts: M numbers, how many classes each variable has, where some have fewer than C and the columns behind
            their own are 0.

    Returns:
        For (N, C) numbers, for (N, M, C) lists of M numbers, one a variable:

        - `mutual_information` in nats (see [`class_mutual_information`] for what its sum over variables is not);
        - `aggregate_entropy` of q(z) = 1/N sum_n q(z | x_n) and `posterior_entropy`, the mean of those of q(z | x_n), in
          nats; their difference is the mutual information;
        - `aggregate_perplexity`, exp of the first, 1 to C;
        - `used_classes`, see `threshold`.

        And for all variables `mutual_information_ceiling`, the smaller of log N and log C, `classes` C, `num_items` N. Where
        `class_counts` differ, the first two are lists too.

    Raises:
        ValueError: another shape, nothing in it, negative or not finite values, rows that do not sum to 1 within 1e-4, a
            threshold outside 0-1, or counts that do not fit.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it is a share of the data points and lies in 0-1")
    posterior = _posterior(probabilities)
    count, classes = len(posterior), posterior.shape[-1]
    aggregate_entropy, posterior_entropy = _entropies(posterior)
    most_probable = posterior.argmax(axis=-1)[..., None] == np.arange(classes)
    share = most_probable.mean(axis=0)
    ceiling = float(np.log(min(count, classes)))
    if class_counts is not None:
        _check_counts(posterior, class_counts)
        if len(set(class_counts)) > 1:
            classes, ceiling = list(class_counts), [float(np.log(min(count, own))) for own in class_counts]
    return {
        "mutual_information": _difference(aggregate_entropy, posterior_entropy).tolist(),
        "mutual_information_ceiling": ceiling,
        "aggregate_entropy": aggregate_entropy.tolist(),
        "posterior_entropy": posterior_entropy.tolist(),
        "aggregate_perplexity": np.exp(aggregate_entropy).tolist(),
        "used_classes": ((share > 0) & (share >= threshold)).sum(axis=-1).tolist(),
        "classes": classes,
        "num_items": count,
    }


def _check_counts(posterior: np.ndarray, class_counts: Sequence[int]) -> None:
    variables, classes = posterior.shape[-2:] if posterior.ndim == 3 else (1, posterior.shape[-1])
    behind = np.arange(classes) >= np.asarray(class_counts).reshape(-1, 1)
    if len(behind) != variables or np.any(posterior.reshape(-1, variables, classes)[:, behind] > 0):
        raise ValueError(
            f"class_counts is {list(class_counts)}: give one number for each of {variables} variables, behind which all "
            "probabilities are 0"
        )


def _entropies(posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy of the mean over data points and mean of the entropies, nats, of shape () or (M,)."""
    return entr(posterior.mean(axis=0)).sum(axis=-1), entr(posterior).sum(axis=-1).mean(axis=0)


def _difference(aggregate_entropy: np.ndarray, posterior_entropy: np.ndarray) -> np.ndarray:
    # Entropy is concave; below 0 there is only rounding.
    return np.maximum(aggregate_entropy - posterior_entropy, 0.0)


def _posterior(probabilities: ArrayLike) -> np.ndarray:
    posterior = np.asarray(probabilities, dtype=np.float64)
    if posterior.ndim not in (2, 3) or 0 in posterior.shape:
        raise ValueError(
            f"probabilities has shape {posterior.shape}; (data points, classes) or (data points, variables, classes) is needed"
        )
    if not np.isfinite(posterior).all() or posterior.min() < 0:
        raise ValueError("probabilities holds negative, infinite or NaN values; pass probabilities, not logits or their logs")
    total = posterior.sum(axis=-1, keepdims=True)
    furthest = total.flat[np.abs(total - 1).argmax()]
    if abs(furthest - 1) > _ROW_SUM_TOLERANCE:
        raise ValueError(
            f"a row of probabilities sums to {furthest:g}; each must sum to 1 over the last dimension: "
            "take the softmax of logits in float32 or better"
        )
    return posterior / total


def _class_indices(name: str, values: Sequence[int | str] | ArrayLike) -> np.ndarray:
    """(N,) indices of classes into the sorted classes of `values`, after checking what they are."""
    flat = "a flat list of classes is needed: [tag for sentence in tags for tag in sentence]"
    if isinstance(values, str):
        raise ValueError(f"{name} is one string; {flat}")
    try:
        classes = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is nested; {flat}") from error
    if classes.ndim != 1:
        raise ValueError(f"{name} has shape {classes.shape}; {flat}")
    kinds = {type(value) for value in values}  # of the values themselves: numpy writes numbers among strings as strings
    strings = {kind for kind in kinds if issubclass(kind, str)}
    if strings == kinds:
        classes = classes.astype(str)
    elif strings or classes.dtype.kind not in "iu":
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{name} is made of {names}; all strings or all whole numbers are needed")
    if classes.dtype.kind == "i" and classes.min() < 0:
        raise ValueError(
            f"{name} holds {classes.min()}; classes count from 0, and -1 or -100 mark items without a class: "
            "leave those out of predictions and references"
        )
    return np.unique(classes, return_inverse=True)[1]


class Clustering(evaluate.Metric):
    """`evaluate` module over [`compute_clustering`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            # Strings first: `evaluate` takes the first that fits, and would read a gold class "7" as a number.
            features=[
                Features({"predictions": Value("int64"), "references": Value("string")}),
                Features({"predictions": Value("int64"), "references": Value("int64")}),
            ],
            reference_urls=["https://scikit-learn.org/stable/modules/clustering.html#clustering-performance-evaluation"],
        )

    def _compute(self, predictions, references):
        return compute_clustering(predictions, references)
