"""What a run does not show: limits that follow from its own results and settings, and nothing that does not."""

import re
from collections.abc import Sequence
from typing import Any

from hf_lvm.cards.kinds import ModelKind
from hf_lvm.cards.measures import reported_split
from hf_lvm.estimators import ESTIMATORS

# Texts to train on below which a corpus is called small.
SMALL_CORPUS = 1_000_000
# Nats that permuted latents cost, and nats of I(x; z), below which a latent counts as not used.
UNUSED_NATS = 0.1
_PRODUCTS = {"bf16": "bfloat16", "fp16": "float16"}
_WRITES = ("hf_lvm_text_vae", "hf_lvm_latent_class", "hf_lvm_neural_hmm", "hf_lvm_urnng", "language_model")
_SIZES = re.compile(r"train ([\d,]+)|([\d,]+) train(?:ing objects)?\b")


def limits_of(runs: Sequence[dict[str, Any]], kind: ModelKind) -> list[str]:
    """Sentences, each true of these runs.

    Args:
        runs: what `results.json` holds, one run a seed.
    """
    settings = runs[0]["settings"]
    model_type = settings["model_type"]
    return [
        *_of_seeds(runs),
        *_of_data(runs[0], settings),
        *_of_estimator(settings),
        *_of_each([_of_likelihood(run, kind) for run in runs], runs),
        *_of_each([_of_latent(run, model_type) for run in runs], runs),
        *_of_vocabulary(runs[0], settings),
        *_of_split(runs[0]),
        *(
            ["What it writes may repeat its training texts, with whatever is wrong in them; nothing was filtered."]
            if model_type in _WRITES
            else []
        ),
    ]


def _of_each(limits: Sequence[list[str]], runs: Sequence[dict[str, Any]]) -> list[str]:
    """Limits of single runs, each once; one that is not true of all runs names the seeds it is true of."""
    found = []
    for limit in dict.fromkeys(limit for own in limits for limit in own):
        seeds = [str(run["settings"].get("seed")) for run, own in zip(runs, limits, strict=True) if limit in own]
        found.append(limit if len(seeds) == len(runs) else f"Seed {', '.join(seeds)}: {limit}")
    return found


def _of_seeds(runs: Sequence[dict[str, Any]]) -> list[str]:
    seeds = [run["settings"].get("seed") for run in runs]
    if len(runs) > 1:
        named = ", ".join(map(str, seeds))
        return [f"{len(runs)} seeds ({named}): numbers are their mean, and each seed's in brackets, in this order."]
    if "num_runs" in runs[0]:
        return []
    return [f"One seed ({seeds[0]}): how far another seed would be from it is not known."]


def _of_data(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    limits = []
    found = _SIZES.search(run.get("corpus") or "")
    if found is not None:
        count = int((found[1] or found[2]).replace(",", ""))
        if count < SMALL_CORPUS:
            labelled = settings.get("num_labelled")
            known = f", of which {labelled:,} are labelled" if labelled is not None and 0 <= labelled < count else ""
            limits.append(f"A small corpus: {count:,} training rows{known}.")
    parts = [str(settings[part]) for part in ("encoder", "decoder", "sender", "receiver") if settings.get(part)]
    if settings.get("model"):
        limits.append(f"It went on from another trained model (`{settings['model']}`); what that saw, this card does not say.")
    elif parts and not any("/" in part for part in parts) and not settings.get("word_vectors"):
        limits.append("Trained from random weights: it knows nothing but these rows.")
    return limits


def _of_estimator(settings: dict[str, Any]) -> list[str]:
    limits = []
    estimator, objective = settings.get("estimator"), settings.get("objective")
    if objective == "minimum_risk":
        limits.append("Trained by `minimum_risk`, which is no bound of log p(x).")
    elif estimator in ESTIMATORS and ESTIMATORS[estimator].biased:
        limits.append(f"The gradient estimator `{estimator}` is biased for the discrete model.")
    if settings.get("joint_weight") == 0 and settings.get("unlabelled_weight") == 0:
        limits.append("Only the posterior was trained, on labels: likelihoods are those of a p(x|z) that learned nothing.")
    if objective == "reward":
        limits.append("Trained by a reward, which is no likelihood.")
    limits += [
        f"Products were computed in {name} in training; the numbers were measured in float32."
        for key, name in _PRODUCTS.items()
        if settings.get(key)
    ]
    return limits


def _of_likelihood(run: dict[str, Any], kind: ModelKind) -> list[str]:
    split = reported_split(run)
    if split is None:
        return []
    test = run[split]
    weighted = test.get("importance_weighted")
    estimate = weighted or test.get("log_likelihood") or test.get("likelihood")
    if estimate is None:
        bounded = "-ELBO is an upper bound of -log p(x), which was not estimated."
        return [bounded] if "bound" in test else []
    if not estimate.get("num_samples") or estimate.get("exact"):
        return []
    count = estimate["num_samples"]
    limit = f"-log p(x) is estimated from {count} samples of the latent for each {kind.unit}: in the mean an upper bound."
    if estimate.get("low_sample_size_share"):
        share = f"{estimate['low_sample_size_share']:.0%}"
        limit += f" For {share} of them the weights are so uneven that they are worth fewer than 10 samples."
    return [limit]


def _of_latent(run: dict[str, Any], model_type: str) -> list[str]:
    split = reported_split(run)
    if split is None or model_type not in _LATENT:
        return []
    return _LATENT[model_type](run[split])


def _of_vector(test: dict[str, Any]) -> list[str]:
    latent, cost = test.get("latent", {}), test.get("permuted_latents_cost_nats_per_sentence")
    active, size = latent.get("active_units"), latent.get("latent_size")
    limits = []
    if active == 0 or (cost is not None and cost < UNUSED_NATS):
        limits.append(
            "The latent has collapsed: the decoder does not use it, and reconstructions and interpolations say nothing about "
            "their texts."
        )
    elif active is not None and active < size:
        limits.append(f"Of {size} latent dimensions {active} are used.")
    recall = test.get("greedy_reconstruction", {}).get("content_word_recall")
    if recall is not None and recall < 0.5:
        limits.append(
            f"Greedy reconstructions hold {recall:.0%} of the content words of their text: they are about it at best, and do "
            "not repeat it."
        )
    repeats = test.get("greedy_reconstruction", {}).get("triple_repeats")
    if repeats:
        limits.append(
            f"{repeats} of {test['num_reconstructions']} greedy reconstructions repeat a word three times in a row or more."
        )
    return limits


def _of_classes(test: dict[str, Any]) -> list[str]:
    usage, limits = test.get("usage", {}), []
    classes = usage.get("classes")
    for variable, used in enumerate(usage.get("used_classes", ())):
        count = classes[variable] if isinstance(classes, list) else classes
        if usage["mutual_information"][variable] < UNUSED_NATS:
            limits.append(f"The classes of variable {variable} say nearly nothing about the text (I(x; z) below 0.1 nats).")
        elif used < count:
            limits.append(f"Of the {count} classes of variable {variable}, {used} are used.")
    if "classes" not in test:
        limits.append("Classes were not compared with known ones: what they mean is for the reader to see.")
    return limits


def _of_trees(test: dict[str, Any]) -> list[str]:
    limits = []
    for protocol, scores in (test.get("brackets") or {}).items():
        others = {name: value["sentence_f1"] for name, value in scores["baselines"].items() if name != "best_binary"}
        if not others:
            continue
        best = max(others, key=others.get)
        if scores["sentence_f1"] <= others[best]:
            limits.append(f"By the protocol {protocol} its trees are no better than {best.replace('_', ' ')} ones.")
    if not test.get("brackets"):
        limits.append("Its trees were not compared with gold ones.")
    return limits


def _of_compressions(test: dict[str, Any]) -> list[str]:
    limits = [
        f"At the length `{way}` its token F1 is no better than that of as many first words."
        for way, scores in (test.get("compression") or {}).items()
        if scores.get("gain_over_first_k", {}).get("token_f1", 1.0) <= 0
    ]
    return limits if test.get("compression") else ["Its compressions were not compared with known ones."]


def _of_meanings(test: dict[str, Any]) -> list[str]:
    exact, limits = test["parsing"]["exact_match_published"], []
    nearest = test.get("controls", {}).get("nearest_neighbour", {}).get("exact_match_published")
    if nearest is not None and exact <= nearest:
        limits.append("It is no better than taking the meaning of the most similar labelled sentence.")
    if test["parsing"].get("underivable"):
        limits.append(
            f"{test['parsing']['underivable']:,} of {test['parsing']['sentences']:,} known meanings cannot be written by the "
            "model at all; they count as wrong."
        )
    return limits


def _of_games(test: dict[str, Any]) -> list[str]:
    limits = ["The language means something to this sender and this receiver alone; another seed invents another one."]
    if test["accuracy"] <= test["chance"]:
        limits.append("The receiver does no better than guessing.")
    return limits


_LATENT = {
    "hf_lvm_text_vae": _of_vector,
    "hf_lvm_latent_class": _of_classes,
    "hf_lvm_urnng": _of_trees,
    "hf_lvm_latent_summarizer": _of_compressions,
    "hf_lvm_struct_vae": _of_meanings,
    "hf_lvm_referential_game": _of_games,
}


def _of_vocabulary(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    split = reported_split(run)
    counted = split is not None and any("word_perplexity" in str(run[split].get(key)) for key in ("bound", "likelihood"))
    if not counted or settings.get("tokenizer") != "words":
        return []
    size = settings.get("vocab_size")
    rare = f"the {size:,} most frequent" if isinstance(size, int) else "those of the training texts"
    return [
        f"Its vocabulary is whole words, {rare}; all others are one token, which makes perplexities low. They compare with "
        "others of the same vocabulary only."
    ]


def _of_split(run: dict[str, Any]) -> list[str]:
    split = reported_split(run)
    if split is None:
        return [] if "num_runs" in run else ["Nothing was measured on held-out rows yet."]
    if split != "test":
        return [f"Measured on the {split} split, which also chose settings or checkpoint: the numbers are optimistic."]
    return [
        "Measured on the test split, at the end of a run. Whether settings were chosen by looking at it, `results.json` does "
        "not say; remarks may."
    ]
