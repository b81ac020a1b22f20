"""Which numbers a card shows of each type of model, under the names and units that its tables use."""

from collections.abc import Callable
from typing import Any

from hf_lvm.cards.numbers import Measure, SplitNumbers

# The first of these splits with numbers is reported; of a hidden Markov model that may be the training texts.
SPLITS = ("test", "validation", "train")
NATS = "nats per sentence"


def measures_of(results: dict[str, Any]) -> list[Measure]:
    """The numbers of one run.

    Args:
        results: what `results.json` holds, or what is known of a run that has not been measured yet.

    Raises:
        ValueError: numbers are missing that results of this model have.
    """
    model_type = results["settings"]["model_type"]
    if model_type == "hf_lvm_task_and_talk":
        return _task_and_talk(results) if "all_runs" in results else []
    split = reported_split(results)
    if split is None:
        return []
    return [*MEASURES[model_type](SplitNumbers(results, split)), *_of_the_rest(results)]


def reported_split(results: dict[str, Any]) -> str | None:
    """The split the numbers were measured on, or None where nothing was measured."""
    # Of the validation split there may be a list of what each evaluation said, which is no report.
    return next((split for split in SPLITS if isinstance(results.get(split), dict) and results[split]), None)


def _text_vae(numbers: SplitNumbers) -> list[Measure]:
    samples = numbers.find("importance_weighted.num_samples")
    return [
        *numbers.likelihood("importance_weighted", f"-log p(x), {samples} importance samples", optional=True),
        *numbers.likelihood("bound", "-ELBO"),
        *numbers.measure("reconstruction_nats_per_sentence", "reconstruction, -log p(x given z)", NATS, optional=True),
        *numbers.measure("kl_nats_per_sentence", "KL(q(z given x), p(z))", NATS, section="latent"),
        *numbers.measure(
            "latent.active_units",
            "active units",
            "dimensions whose posterior mean varies by 0.01 or more",
            0,
            "latent",
            of="latent.latent_size",
            optional=True,
        ),
        *numbers.measure("latent.mutual_information", "mutual information I(x; z)", _ceiling(numbers), section="latent"),
        *numbers.measure(
            "permuted_latents_cost_nats_per_sentence",
            "cost of writing from another text's latent",
            NATS,
            section="latent",
        ),
        *numbers.measure(
            "permuted_conditions.cost_nats_per_sentence",
            "cost of reading another text's condition, of the bound",
            NATS,
            section="latent",
            optional=True,
        ),
        *numbers.measure(
            "permuted_conditions.likelihood_cost_nats_per_sentence",
            "the same of log p(x given c)",
            NATS,
            section="latent",
            optional=True,
        ),
        *numbers.measure(
            "greedy_reconstruction.content_word_recall",
            "content words found again in greedy reconstructions",
            "percent",
            1,
            "latent",
            scale=100,
            optional=True,
        ),
        *numbers.measure(
            "greedy_reconstruction_from_shuffled_latents.content_word_recall",
            "the same from the latent of another text",
            "percent",
            1,
            "latent",
            scale=100,
            optional=True,
        ),
        *_diversity(numbers),
    ]


def _ceiling(numbers: SplitNumbers) -> str:
    ceiling = numbers.find("latent.mutual_information_ceiling")
    return "nats" if ceiling is None else f"nats; {ceiling:.2f} would tell all texts apart"


def _diversity(numbers: SplitNumbers) -> list[Measure]:
    return [
        *numbers.measure("sample_diversity.self_bleu", "self-BLEU of texts it draws", "0 to 100", 1, optional=True),
        *numbers.measure("text_diversity.self_bleu", "self-BLEU of real texts", "0 to 100", 1, "controls", optional=True),
    ]


def _latent_class(numbers: SplitNumbers) -> list[Measure]:
    how = "summed over all classes" if numbers.need("likelihood.exact") else "importance-weighted"
    measures = [
        *numbers.likelihood("likelihood", f"-log p(x), {how}"),
        *numbers.measure("bound.nats_per_sentence", "-ELBO", NATS),
        *numbers.measure("kl_nats_per_sentence", "KL(q(z given x), p(z))", NATS, section="latent"),
    ]
    usage = numbers.need("usage")
    for variable, information in enumerate(usage["mutual_information"]):
        ceiling, classes = (
            value[variable] if isinstance(value, list) else value
            for value in (usage["mutual_information_ceiling"], usage["classes"])
        )
        of = f" of variable {variable}" if len(usage["mutual_information"]) > 1 else ""
        place = f"usage.{variable}"
        measures += [
            _latent(numbers, f"{place}.mutual_information", f"I(x; z){of}", f"nats, {ceiling:.2f} at most", information),
            _latent(numbers, f"{place}.used_classes", f"classes used{of}", "", usage["used_classes"][variable], 0, classes),
            _latent(
                numbers, f"{place}.perplexity", f"perplexity of the classes{of}", "", usage["aggregate_perplexity"][variable]
            ),
        ]
    for scores in numbers.find("classes") or ():
        variable = scores["variable"]
        for key, name, section in (
            ("accuracy", "accuracy against known classes", "results"),
            ("v_measure", "V-measure against known classes", "results"),
            ("majority_share", "accuracy of the most frequent class alone", "controls"),
        ):
            of = f" of variable {variable}"
            path = f"classes.{variable}.{key}"
            measures.append(Measure(path, name + of, "0 to 1", scores[key], 3, numbers.split, section))
    return measures + _diversity(numbers)


def _latent(
    numbers: SplitNumbers, key: str, name: str, unit: str, value: float, digits: int = 2, of: int | None = None
) -> Measure:
    return Measure(key, name, unit, value, digits, numbers.split, "latent", of)


def _neural_hmm(numbers: SplitNumbers) -> list[Measure]:
    return [
        *numbers.likelihood("likelihood", "-log p(x), summed over all state sequences"),
        *numbers.measure("states.used", "states used", "", 0, "latent"),
        *numbers.measure("states.perplexity", "perplexity of the states", "", 1, "latent"),
        *numbers.measure("tags.v_measure", "V-measure against gold tags", "0 to 1", 3, optional=True),
        *numbers.measure("tags.many_to_one", "many-to-one accuracy against gold tags", "0 to 1", 3, optional=True),
        *numbers.measure("tags.one_to_one", "one-to-one accuracy against gold tags", "0 to 1", 3, optional=True),
        *numbers.measure(
            "tags.majority_share", "share of the most frequent tag alone", "0 to 1", 3, "controls", optional=True
        ),
    ]


def _neural_topic(numbers: SplitNumbers) -> list[Measure]:
    samples, words = numbers.find("log_likelihood.num_samples"), numbers.need("topics.top_words")
    by_word = "per word of the vocabulary"
    return [
        *numbers.measure("topics.npmi", f"NPMI of the {words} first words of each topic", "-1 to 1", 3),
        *numbers.measure("topics.diversity", "different words among these", "share, 0 to 1", 3),
        *numbers.measure(
            "log_likelihood.nats_per_document",
            f"-log p(words), {samples} importance samples",
            "nats per document",
            optional=True,
        ),
        *numbers.measure(
            "log_likelihood.word_perplexity", f"perplexity of -log p(words), {samples} samples", by_word, 1, optional=True
        ),
        *numbers.measure("bound.nats_per_document", "-ELBO", "nats per document"),
        *numbers.measure("bound.word_perplexity", "perplexity of -ELBO", by_word, 1),
        *numbers.measure("shares.used", "topics that are the largest of some document", "", 0, "latent", of="shares.topics"),
    ]


def _urnng(numbers: SplitNumbers) -> list[Measure]:
    samples = numbers.find("likelihood.num_samples")
    measures = [
        *numbers.likelihood("likelihood.normalized", f"-log p(x), {samples} trees", optional=True),
        *numbers.measure(
            "likelihood.published.word_perplexity",
            "perplexity by the published convention",
            "per word, end of sentence neither masked nor counted",
            optional=True,
        ),
        *numbers.likelihood("bound", "-ELBO"),
        *numbers.measure("kl_nats_per_sentence", "KL(q(z given x), p(z))", NATS, section="latent"),
        *numbers.measure(
            "posterior_entropy_nats_per_sentence", "entropy of q(z given x)", NATS, 3, section="latent", optional=True
        ),
    ]
    for protocol, scores in (numbers.find("brackets") or {}).items():
        for kind in ("corpus", "sentence"):
            path = f"brackets.{protocol}.{kind}_f1"
            measures += numbers.measure(path, f"{kind} F1 against gold trees, protocol {protocol}", "0 to 100", 1)
        for baseline in scores["baselines"]:
            path = f"brackets.{protocol}.baselines.{baseline}.sentence_f1"
            name = f"sentence F1 of {baseline.replace('_', ' ')} trees, protocol {protocol}"
            measures += numbers.measure(path, name, "0 to 100", 1, "controls")
    return measures


def _latent_summarizer(numbers: SplitNumbers) -> list[Measure]:
    exact = numbers.find("likelihood.exact")
    how = "summed over all compressions" if exact else f"{numbers.find('likelihood.num_samples')} samples"
    measures = [
        *numbers.likelihood("likelihood", f"-log p(x), {how}", optional=True),
        *numbers.measure("bound.nats_per_sentence", "-ELBO", NATS),
        *numbers.measure("kl_nats_per_sentence", "KL(q(c given x), p(c))", NATS, section="latent"),
    ]
    for way, scores in numbers.need("compression").items():
        # The name of a way may hold a point, so these are no paths.
        rows = [
            ("token_f1", "token F1", "0 to 1", 3, "results"),
            ("rouge1", "ROUGE-1", "0 to 100", 2, "results"),
            ("rouge2", "ROUGE-2", "0 to 100", 2, "results"),
            ("rougeL", "ROUGE-L", "0 to 100", 2, "results"),
            ("compression_ratio", "words kept", "share of the text, 0 to 1", 3, "results"),
            ("explained_nats_per_word", "what a word of the compression explains", "nats", 2, "latent"),
        ]
        for key, name, unit, digits, section in rows:
            if key in scores:
                measures.append(
                    Measure(f"compression.{way}.{key}", f"{name} ({way})", unit, scores[key], digits, numbers.split, section)
                )
        for control, called in (("first_k", "as many first words"), ("random_k", "as many words at random")):
            if control in scores.get("controls", {}):
                value = scores["controls"][control]["token_f1"]
                path = f"compression.{way}.{control}.token_f1"
                measures.append(Measure(path, f"token F1 of {called} ({way})", "0 to 1", value, 3, numbers.split, "controls"))
    return measures


def _struct_vae(numbers: SplitNumbers) -> list[Measure]:
    samples, beams = numbers.find("likelihood.num_samples"), numbers.find("parsing.num_beams")
    measures = [
        *numbers.measure("parsing.exact_match_published", "exact match, published rule", "0 to 100", 1),
        *numbers.measure("parsing.exact_match_canonical", "exact match, any order and names of variables", "0 to 100", 1),
        *numbers.measure("parsing.well_formed", "well-formed parses", "percent", 1, scale=100),
        *numbers.measure("parsing.token_f1", "token F1", "0 to 1", 3),
        *numbers.likelihood("likelihood", f"-log p(x), {samples} samples", optional=True),
        *numbers.measure("bound.nats_per_sentence", "-ELBO", NATS, optional=True),
        *numbers.measure("kl_nats_per_sentence", "KL(q(z given x), p(z))", NATS, section="latent", optional=True),
        *numbers.measure("parsing.underivable", "meanings it cannot write", "", 0, "latent", of="parsing.sentences"),
    ]
    among = (numbers.find("parsing.oracle_at_k.published") or [None])[-1]
    if among is not None:
        name = f"exact match among the best {beams}, published rule"
        measures.insert(2, Measure("parsing.oracle", name, "0 to 100", among, 1, numbers.split))
    for control, name in (("nearest_neighbour", "the nearest labelled sentence"), ("majority_template", "the usual meaning")):
        path = f"controls.{control}.exact_match_published"
        measures += numbers.measure(path, f"exact match of {name}", "0 to 100", 1, "controls", optional=True)
    return measures


def _referential_game(numbers: SplitNumbers) -> list[Measure]:
    return [
        *numbers.measure("accuracy", "accuracy on unseen objects, best messages", "percent", 1, scale=100),
        *numbers.measure("sampled_accuracy", "accuracy on unseen objects, messages drawn", "percent", 1, scale=100),
        *numbers.measure("chance", "accuracy of guessing", "percent", 1, "controls", scale=100),
        *numbers.measure("likelihood.nats_per_game", "-log p(x)", "nats per game", optional=True),
        *numbers.measure("bound.nats_per_game", "negative bound", "nats per game", optional=True),
        *numbers.measure("bound.reconstruction", "-log p(x given m)", "nats per game", optional=True),
        *numbers.measure("game_loss", "hinge loss", "per game", optional=True),
        *numbers.measure("bound.kl", "KL(q(m given object), p(m))", "nats per game", 2, "latent", optional=True),
        *numbers.measure("mean_length", "symbols a message", "", 2, "latent"),
        *numbers.measure("distinct_messages", "different messages", "", 0, "latent", of="games"),
    ]


def _language_model(numbers: SplitNumbers) -> list[Measure]:
    return numbers.likelihood("likelihood", "-log p(x), exact")


def _task_and_talk(results: dict[str, Any]) -> list[Measure]:
    measures = [
        Measure("solved_runs", "runs that solve 99% of training", "", results["solved_runs"], 0, of=results["num_runs"])
    ]
    for group, title in (("all_runs", "all runs"), ("of_solved_runs", "solved runs")):
        for key, name, unit, digits, scale in (
            ("train_both", "both values right, training objects", "percent", 1, 100),
            ("test_both", "both values right, unseen objects", "percent", 1, 100),
            ("test_any", "at least one value right, unseen objects", "percent", 1, 100),
            ("test_nats", "-log p(x given task and object), unseen objects", "nats", 2, 1),
        ):
            found = (results.get(group) or {}).get(key)
            if found is not None:
                split = "train" if key.startswith("train") else "test"
                label = f"{name}, mean of {title}"
                measures.append(Measure(f"{group}.{key}", label, unit, scale * found["mean"], digits, split))
        purity = (results.get(group) or {}).get("purity")
        if purity is not None:
            label = f"purity of answers, mean of {title}"
            measures.append(Measure(f"{group}.purity", label, "0 to 1", purity["mean"], 3, section="latent"))
    return measures


def _of_the_rest(results: dict[str, Any]) -> list[Measure]:
    """What stands beside the splits: a comparison with a language model, how compositional a language is."""
    measures = []
    if "comparison" in results:
        numbers = SplitNumbers(results, "comparison")
        name = "-log p(x) of the same decoder trained without a latent"
        measures += numbers.measure("language_model_nats_per_sentence", name, NATS, section="controls")
    if isinstance(results.get("language"), dict):
        numbers = SplitNumbers(results, "language")
        for key, name in (
            ("topographic_similarity", "topographic similarity"),
            ("positional_disentanglement", "positional disentanglement"),
            ("bag_of_symbols_disentanglement", "bag-of-symbols disentanglement"),
        ):
            measures += numbers.measure(key, f"{name}, all objects", "1 is best", 3, "latent", optional=True)
    return measures


MEASURES: dict[str, Callable[[SplitNumbers], list[Measure]]] = {
    "hf_lvm_text_vae": _text_vae,
    "hf_lvm_latent_class": _latent_class,
    "hf_lvm_neural_hmm": _neural_hmm,
    "hf_lvm_neural_topic": _neural_topic,
    "hf_lvm_urnng": _urnng,
    "hf_lvm_latent_summarizer": _latent_summarizer,
    "hf_lvm_struct_vae": _struct_vae,
    "hf_lvm_referential_game": _referential_game,
    "language_model": _language_model,
}
