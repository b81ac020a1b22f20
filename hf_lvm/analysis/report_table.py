"""The numbers of a report as rows for people: a name, a value with its unit, and what it means."""

from collections.abc import Iterator
from typing import Any

Row = tuple[str, str, str]


def report_rows(metrics: dict[str, Any]) -> list[Row]:
    """One row an instrument, in the order likelihood, latent, inference, writing.

    Args:
        metrics: those of a `TextVAEReport`; instruments that were left out have no row.
    """
    return [*_likelihood(metrics), *_latent(metrics), *_inference(metrics), *_noise(metrics), *_writing(metrics)]


def class_report_rows(metrics: dict[str, Any]) -> list[Row]:
    """One row an instrument, in the order likelihood, classes, writing.

    Args:
        metrics: those of a `ClassReport`.
    """
    return [*_class_likelihood(metrics), *_classes(metrics), *_diversity(metrics)]


def tree_report_rows(metrics: dict[str, Any]) -> list[Row]:
    """One row an instrument, in the order likelihood, trees.

    Args:
        metrics: those of a `TreeReport`; instruments that were left out have no row.
    """
    return [*_tree_likelihood(metrics), *_brackets(metrics)]


def _tree_likelihood(metrics: dict[str, Any]) -> Iterator[Row]:
    yield "-ELBO", _nats(metrics["bound"]["nats_per_sentence"]), _units(metrics["bound"])
    yield "  words", _nats(metrics["reconstruction_nats_per_sentence"]), "the part of it that words and ends cost, given trees"
    yield "  trees", _nats(metrics["kl_nats_per_sentence"]), "what the steps that build them cost, less the entropy of q(z|x)"
    entropy = metrics["posterior_entropy_nats_per_sentence"]
    yield "entropy of q(z|x)", f"{entropy:.2f} nats", "0 where each sentence has one tree"
    if "likelihood" in metrics:
        likelihood = metrics["likelihood"]
        own, published = likelihood["normalized"], likelihood["published"]
        yield f"-log p(x), {likelihood['num_samples']:,} trees", _nats(own["nats_per_sentence"]), _units(own)
        yield (
            "  standard error",
            f"{likelihood['sampling_standard_error']:.3f} nats",
            f"of its mean, over draws of trees; mean effective sample size {likelihood['mean_effective_sample_size']:.1f}, "
            f"below 10 in {likelihood['low_sample_size_sentences']:,} of {own['sentences']:,} sentences",
        )
        yield (
            "  published convention",
            _nats(published["nats_per_sentence"]),
            f"perplexity {published['word_perplexity']:.2f} per word, end of sentence neither masked nor counted",
        )
    if "exact" in metrics:
        exact = metrics["exact"]
        estimate = exact.get("importance_weighted_nats_per_sentence")
        yield (
            "  summed over all trees",
            _nats(exact["nats_per_sentence"]),
            f"{exact['sentences']:,} sentences of at most {exact['most_words']} words"
            + ("" if estimate is None else f"; importance-weighted {estimate:.2f}"),
        )


def _brackets(metrics: dict[str, Any]) -> Iterator[Row]:
    for protocol, scores in metrics.get("brackets", {}).items():
        baselines = ", ".join(
            f"{name.replace('_', ' ')} {value['sentence_f1']:.1f}" for name, value in scores["baselines"].items()
        )
        yield (
            f"F1 by {protocol}",
            f"{scores['sentence_f1']:.1f}",
            f"mean of sentences, of the corpus {scores['corpus_f1']:.1f}; {baselines}",
        )


def _class_likelihood(metrics: dict[str, Any]) -> Iterator[Row]:
    likelihood = metrics["likelihood"]
    how = "summed over all classes" if likelihood["exact"] else "importance-weighted"
    yield f"-log p(x), {how}", _nats(likelihood["nats_per_sentence"]), _units(likelihood)
    yield "-ELBO", _nats(metrics["bound"]["nats_per_sentence"]), _units(metrics["bound"])
    yield "KL(q(z|x) || p(z))", _nats(metrics["kl_nats_per_sentence"]), "the part of it that the latent costs"


def _classes(metrics: dict[str, Any]) -> Iterator[Row]:
    usage = metrics["usage"]
    by = "Bayes' rule" if metrics["classes_by"] == "bayes" else "the encoder"
    for variable, information in enumerate(usage["mutual_information"]):
        ceiling, classes = (
            value[variable] if isinstance(value, list) else value
            for value in (usage["mutual_information_ceiling"], usage["classes"])
        )
        yield (
            f"I(x; z) of variable {variable}",
            f"{information:.2f} nats",
            f"of at most {ceiling:.2f}, by {by}; {usage['used_classes'][variable]} of {classes} classes used, perplexity "
            f"{usage['aggregate_perplexity'][variable]:.1f}",
        )
    if "joint_mutual_information" in metrics:
        yield "  of all together", f"{metrics['joint_mutual_information']:.2f} nats", "what several variables repeat, once"
    for key, name in (("classes", by), ("classes_by_bayes", "Bayes' rule")):
        for scores in metrics.get(key, []):
            yield (
                f"accuracy of variable {scores['variable']}",
                f"{scores['accuracy']:.1%}",
                f"by {name}; the most frequent class alone {scores['majority_share']:.1%}; V-measure "
                f"{scores['v_measure']:.3f}, many-to-one {scores['many_to_one']:.1%}",
            )


def _likelihood(metrics: dict[str, Any]) -> Iterator[Row]:
    yield "-ELBO", _nats(metrics["bound"]["nats_per_sentence"]), _units(metrics["bound"])
    yield (
        "reconstruction",
        _nats(metrics["reconstruction_nats_per_sentence"]),
        "the part of it that the words cost: -log p(x|z), z a sample of q(z|x)",
    )
    yield (
        "KL(q(z|x) || p(z))",
        _nats(metrics["kl_nats_per_sentence"]),
        f"the part of it that the latent costs, {metrics['kl_estimate']}",
    )
    if "importance_weighted" not in metrics:
        return
    weighted = metrics["importance_weighted"]
    name = f"-log p(x), {weighted['num_samples']:,} samples"
    yield name, _nats(weighted["nats_per_sentence"]), _units(weighted)
    error = weighted["sampling_standard_error"]
    yield (
        "  standard error",
        "-" if error is None else f"{error:.3f} nats",
        f"of its mean, over draws of z; mean effective sample size {weighted['mean_effective_sample_size']:.1f}, below 10 in "
        f"{weighted['low_sample_size_sentences']:,} of {weighted['sentences']:,} sentences",
    )
    for row in metrics["importance_weighted_convergence"][:-1]:
        remark = ", the -ELBO from more draws" if row["num_samples"] == 1 else ""
        yield (
            f"  with {row['num_samples']:,} of them",
            _nats(row["nats_per_sentence"]),
            f"perplexity {row['word_perplexity']:.2f} per word{remark}",
        )


def _latent(metrics: dict[str, Any]) -> Iterator[Row]:
    latent = metrics["latent"]
    yield (
        "active units",
        f"{latent['active_units']} of {latent['latent_size']}",
        "dimensions whose posterior mean has a variance of at least 0.01",
    )
    yield (
        "mutual information",
        f"{latent['mutual_information']:.2f} nats",
        f"over the data set; at most log N = {latent['mutual_information_ceiling']:.2f}",
    )
    size = min(latent["batch_size"], latent["sentences"])
    yield (
        "  in batches",
        f"{latent['batch_mutual_information']:.2f} nats",
        f"of {size}; at most log B = {latent['batch_mutual_information_ceiling']:.2f}, not comparable with the other",
    )
    parts = latent["kl_per_dimension"]
    if parts:
        ordered = sorted(parts, reverse=True)
        yield (
            "KL per dimension",
            f"{ordered[0]:.2f} ... {ordered[-1]:.2f} nats",
            f"largest to smallest; {sum(value >= 0.01 for value in parts)} of {len(parts)} carry at least 0.01",
        )
    cost, error = (metrics[f"permuted_latents_cost_{name}"] for name in ("nats_per_sentence", "standard_error"))
    yield (
        "latent-usage gap",
        f"{cost:+.2f} nats/sentence",
        f"± {error:.2f}: what it costs when latents are permuted across sentences",
    )
    if "permuted_conditions" in metrics:
        permuted = metrics["permuted_conditions"]
        likelihood = permuted.get("likelihood_cost_nats_per_sentence")
        yield (
            "conditions exchanged",
            f"{permuted['cost_nats_per_sentence']:+.2f} nats/sentence",
            f"± {permuted['cost_standard_error']:.2f}: what it costs the bound to read the condition of another text"
            + ("" if likelihood is None else f"; of log p(x|c) {likelihood:+.2f}"),
        )


def _inference(metrics: dict[str, Any]) -> Iterator[Row]:
    gap = metrics.get("inference_gap")
    if gap is None:
        return
    if "left_out" in gap:
        yield "inference gap", "-", f"left out: {gap['left_out']}"
        return
    yield (
        "inference gap",
        _nats(gap["inference_gap"]),
        f"-ELBO minus -log p(x), on {gap['sentences']:,} sentences",
    )
    yield "  approximation", _nats(gap["approximation_gap"]), "of it, what no diagonal Gaussian posterior can give"
    yield (
        "  amortization",
        _nats(gap["amortization_gap"]),
        f"± {gap['amortization_gap_standard_error']:.3f}: of it, what q(z|x) loses against the best one of each sentence",
    )


def _noise(metrics: dict[str, Any]) -> Iterator[Row]:
    noise = metrics.get("noise_robustness")
    if noise is None:
        return
    lost = noise["lost_content_words_recovered"]
    if noise["kl_nats"] is not None:
        yield (
            f"q(z|x) moves without {noise['dropped_share']:.0%} of the words",
            _nats(noise["kl_nats"]),
            f"KL(q(z|x') || q(z|x)), {noise['distance']:.2f} standard deviations; q of another text "
            f"{noise['kl_nats_of_other_texts']:.2f} nats, {noise['distance_of_other_texts']:.2f}",
        )
    if noise["content_words_left"] is not None:
        yield (
            "content words recovered from the rest",
            f"{noise['content_words_recovered']:.1%}",
            f"of those of the whole text, {noise['content_words_left']:.1%} of which were left, and "
            f"{noise['content_words_recovered_without_noise']:.1%} recovered from the whole text"
            + ("" if lost is None else f"; {lost:.1%} of the lost ones come back"),
        )


def _writing(metrics: dict[str, Any]) -> Iterator[Row]:
    yield (
        "token accuracy",
        f"{metrics['teacher_forced_token_accuracy']:.1%}",
        "tokens that are the most probable one after the true ones before them",
    )
    if "greedy_reconstruction" in metrics:
        own, others = metrics["greedy_reconstruction"], metrics["greedy_reconstruction_from_shuffled_latents"]
        yield (
            "reconstruction BLEU",
            f"{own['bleu']:.2f}",
            f"of {metrics['num_reconstructions']:,} greedy reconstructions; {others['bleu']:.2f} from permuted latents",
        )
        yield "  exact match", f"{own['exact_match']:.1%}", f"{others['exact_match']:.1%} from permuted latents"
        yield (
            "  word accuracy",
            f"{own['token_accuracy']:.1%}",
            f"the same word at the same place; {others['token_accuracy']:.1%} from permuted latents",
        )
    yield from _diversity(metrics)
    if "interpolation" in metrics:
        paths = metrics["interpolation"]
        yield (
            "order of interpolations",
            f"{paths['order']:+.2f}",
            f"of {paths['paths']} with {paths['steps']} texts, 1 where words go over from one end to the other step by step; "
            f"{paths['distinct_share']:.0%} of the texts differ, the largest step changes {paths['largest_step']:.0%}",
        )
    if "reverse_perplexity" in metrics:
        yield from _judged(metrics["reverse_perplexity"])


def _diversity(metrics: dict[str, Any]) -> Iterator[Row]:
    if "sample_diversity" in metrics:
        samples, texts = metrics["sample_diversity"], metrics["text_diversity"]
        yield (
            "self-BLEU of samples",
            f"{samples['self_bleu']:.2f}",
            f"of {samples['sentences']:,} samples, 100 when all are alike; {texts['self_bleu']:.2f} of as many texts",
        )
        yield "  duplicates", f"{samples['duplicate_share']:.1%}", f"{texts['duplicate_share']:.1%} of as many texts"


def _judged(judged: dict[str, Any]) -> Iterator[Row]:
    protocol = judged["protocol"]
    yield (
        "reverse perplexity",
        f"{judged['reverse']['word_perplexity']:.2f} per word",
        f"of these texts under an LSTM trained on {protocol['num_texts']:,} samples for {protocol['steps']:,} steps; "
        f"{judged['real']['word_perplexity']:.2f} when trained on as many texts",
    )
    yield (
        "forward perplexity",
        f"{judged['forward']['word_perplexity']:.2f} per word",
        "of samples under the LSTM trained on texts",
    )


def _nats(value: float) -> str:
    return f"{value:.2f} nats/sentence"


def _units(likelihood: dict[str, Any]) -> str:
    return (
        f"perplexity {likelihood['word_perplexity']:.2f} per word, {likelihood['token_perplexity']:.2f} per token; "
        f"{likelihood['bits_per_byte']:.3f} bits/byte"
    )
