"""Topics of a neural topic model beside those of scikit-learn's LDA, on the documentation corpus.

Both read the same documents as counts of the same words, have as many topics, and are searched over settings, LDA over more of
them, chosen by NPMI of the ten top words of each topic on the validation documents, the mean over three seeds. Of the neural
settings only those come into question whose topics are at least as diverse as those of the LDA that was chosen: a model can be
coherent by repeating its one good topic.
The two that are chosen are then trained with the seeds that follow, and measured once on the test documents:

- `npmi`, `diversity`: `hf_lvm.metrics.load("topics")`;
- `completion_perplexity`: of every second word of a document, given the shares of topics that the other words lead to
  (Wallach et al. 2009). It asks both models the same, which their own bounds do not: that of LDA counts its topics as unknown.

    python recipes/benchmarks/topic_models.py --output recipes/neural_topic/results/comparison.json
"""

import argparse
import itertools
import json
import math
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.decomposition import LatentDirichletAllocation

from hf_lvm.analysis.topic_report import words_of
from hf_lvm.metrics.topics.topics import compute_topics
from hf_lvm.models.neural_topic import NeuralTopicModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.config_file import parse
from hf_lvm.training.neural_topic import NeuralTopicArguments, build_neural_topic, prepare, train
from hf_lvm.training.results import describe_corpus, run_description, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import begin_run

RECIPE = Path(__file__).parents[1] / "neural_topic" / "documentation.yaml"
SEARCH_SEEDS = (42, 43, 44)

LDA_GRID: list[dict[str, Any]] = [
    {"doc_topic_prior": documents, "topic_word_prior": words, "learning_method": "batch", "max_iter": 30}
    for documents, words in itertools.product((0.002, 0.005, 0.01, 0.02, 0.05, 0.1), (0.003, 0.01, 0.03))
] + [
    {"doc_topic_prior": 0.02, "topic_word_prior": 0.01, "learning_method": "online", "max_iter": 30, "learning_decay": decay}
    for decay in (0.5, 0.7, 0.9)
]
NEURAL_GRID: list[dict[str, Any]] = [
    {"posterior_type": "dirichlet", "background_share": share, "prior_concentration": prior}
    for share, prior in itertools.product((0.2, 0.3, 0.4, 0.5), (0.05, 0.1))
] + [
    {"posterior_type": "logistic_normal", "background_share": share, "prior_concentration": prior}
    for share, prior in itertools.product((0.3, 0.5), (0.3, 1.0))
]


class Comparison:
    """The documents, and how a model of either kind is trained on them and measured.

    Args:
        num_topics: K.
        folder: where the runs of the neural models are written.
    """

    def __init__(self, num_topics: int, folder: Path):
        self.num_topics, self.folder = num_topics, folder
        arguments, self.data, args = self._arguments({}, SEARCH_SEEDS[0])
        begin_run(args)
        self.texts, self.processor, self.encoded = prepare(arguments, self.data)
        model = build_neural_topic(arguments, self.processor)
        self.words = {split: words_of(model, rows, self.processor) for split, rows in self.encoded.items()}
        self.vocabulary = self.processor.decoder_tokenizer.convert_ids_to_tokens(model.is_word.nonzero().flatten().tolist())
        self.column = {word: number for number, word in enumerate(self.vocabulary)}

    def _arguments(self, settings: dict[str, Any], seed: int):
        flags = [f"--{key}={value}" for key, value in ({"num_topics": self.num_topics, "seed": seed} | settings).items()]
        fixed = ["--use_cpu", "true", "--disable_tqdm", "true", "--report_to", "none", "--eval_strategy", "no",
                 "--logging_steps", "1000", "--output_dir", str(self.folder)]  # fmt: skip
        return parse(
            (NeuralTopicArguments, DataArguments, LatentTrainingArguments), ["--config", str(RECIPE), *fixed, *flags], ""
        )

    def counts(self, documents: list[list[str]]) -> csr_matrix:
        """How often each document has each word."""
        pairs = [(row, self.column[word]) for row, words in enumerate(documents) for word in words]
        rows, columns = zip(*pairs, strict=True)
        return csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(documents), len(self.vocabulary)))

    def lda(self, settings: dict[str, Any], seed: int) -> "LDA":
        """A trained LDA."""
        model = LatentDirichletAllocation(self.num_topics, random_state=seed, batch_size=200, **settings)
        return LDA(self, model.fit(self.counts(self.words["train"])))

    def neural(self, settings: dict[str, Any], seed: int) -> "Neural":
        """A trained neural topic model."""
        arguments, _, args = self._arguments(settings, seed)
        begin_run(args)
        trainer, _ = train(arguments, args, self.processor, self.encoded)
        return Neural(self, trainer.accelerator.unwrap_model(trainer.model).eval())

    def measure(self, model: "LDA | Neural", split: str) -> dict[str, Any]:
        """Coherence, diversity and perplexity on a split."""
        result = compute_topics(model.topics(), self.words[split], top_words=10)
        kept = {key: result[key] for key in ("npmi", "diversity", "unseen_pair_share")}
        return kept | {"completion_perplexity": self._completion_perplexity(model, split)}

    def _completion_perplexity(self, model: "LDA | Neural", split: str) -> float:
        documents = [words for words in self.words[split] if len(words) > 1]
        log_probs = model.log_probs([words[::2] for words in documents])
        asked = self.counts([words[1::2] for words in documents])
        return math.exp(-asked.multiply(log_probs).sum() / asked.sum())


class LDA:
    """What is asked of a scikit-learn LDA."""

    def __init__(self, comparison: Comparison, model: LatentDirichletAllocation):
        self.comparison, self.model = comparison, model
        self.word_probs = model.components_ / model.components_.sum(1, keepdims=True)

    def topics(self) -> list[list[str]]:
        """The ten top words of each topic."""
        return [[self.comparison.vocabulary[word] for word in np.argsort(-row)[:10]] for row in self.word_probs]

    def log_probs(self, documents: list[list[str]]) -> np.ndarray:
        """log p(word) under the shares of topics that documents lead to: (N, W)."""
        return np.log(self.model.transform(self.comparison.counts(documents)) @ self.word_probs)


class Neural:
    """The same of a neural topic model."""

    def __init__(self, comparison: Comparison, model: NeuralTopicModel):
        self.comparison, self.model = comparison, model

    def topics(self) -> list[list[str]]:
        """The ten top words of each topic."""
        return self.model.topics(10, processor=self.comparison.processor)

    @torch.no_grad()
    def log_probs(self, documents: list[list[str]]) -> np.ndarray:
        """log p(word) under the shares of topics that documents lead to: (N, W)."""
        found = []
        for begin in range(0, len(documents), 200):
            texts = [" ".join(words) for words in documents[begin : begin + 200]]
            batch = self.comparison.processor(texts, return_tensors="pt")
            shares = self.model.topic_shares(batch["input_ids"], batch["attention_mask"])
            found.append(self.model.word_log_probs(shares)[:, self.model.is_word])
        return torch.cat(found).double().numpy()


def search(comparison: Comparison, name: str, grid: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every setting of a grid, trained with several seeds and measured on the validation documents: means over the seeds."""
    rows = []
    for settings in grid:
        begin = time.perf_counter()
        models = [getattr(comparison, name)(settings, seed) for seed in SEARCH_SEEDS]
        seconds = (time.perf_counter() - begin) / len(models)
        measured = [comparison.measure(model, "validation") for model in models]
        means = {key: statistics.mean(one[key] for one in measured) for key in measured[0]}
        rows.append({"settings": settings, "seconds": seconds} | means | {"npmi_of_seed": [one["npmi"] for one in measured]})
        print(
            name, settings, {key: round(means[key], 4) for key in ("npmi", "diversity", "completion_perplexity")}, flush=True
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_topics", type=int, default=50, help="topics of either model (default: 50)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the chosen settings")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(options.num_topics, Path(folder))
        grids = {"lda": search(comparison, "lda", LDA_GRID), "neural": search(comparison, "neural", NEURAL_GRID)}
        chosen = {"lda": max(grids["lda"], key=lambda row: row["npmi"])}
        diverse = [row for row in grids["neural"] if row["diversity"] >= chosen["lda"]["diversity"]]
        chosen["neural"] = max(diverse or grids["neural"], key=lambda row: row["npmi"])
        rows = {}
        for name, row in chosen.items():
            rows[name] = []
            for seed in options.seeds:
                model = getattr(comparison, name)(row["settings"], seed)
                rows[name].append({"seed": seed} | comparison.measure(model, "test") | {"topics": model.topics()})
            means = {
                key: statistics.mean(one[key] for one in rows[name]) for key in ("npmi", "diversity", "completion_perplexity")
            }
            print(name, row["settings"], means, [round(one["npmi"], 4) for one in rows[name]], flush=True)
    if options.output:
        arguments = vars(options) | {"output": str(options.output), "search_seeds": SEARCH_SEEDS, "seed": options.seeds[0]}
        results = {
            **run_description(
                ["topic_models.py", "--num_topics", str(options.num_topics)], arguments, time.perf_counter() - begin
            ),
            "corpus": describe_corpus(comparison.data, comparison.texts),
            "vocabulary": len(comparison.vocabulary),
            "search": grids,
            "chosen": {name: row["settings"] for name, row in chosen.items()},
            "test": rows,
        }
        results["versions"]["scikit-learn"] = version("scikit-learn")
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_results(options.output, results)
        print(json.dumps(results["chosen"]))


if __name__ == "__main__":
    main()
