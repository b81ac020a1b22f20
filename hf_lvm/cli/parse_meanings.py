"""What `hf-lvm parse` says of sentences by a model that finds meanings."""

import argparse
import json
from collections.abc import Iterator

# Options that are of trees over words; none is set by itself.
OF_WORDS = ("surprisal", "svg", "ascii")
NUM_BEAMS, BATCH_SIZE = 5, 64


def meanings_of(model, processor, sentences: list[str], options: argparse.Namespace) -> Iterator[str]:
    """A line or several of each sentence: its best meanings, or an object of JSON.

    Raises:
        ValueError: options of trees over words.
    """
    given = [f"--{key}" for key in OF_WORDS if getattr(options, key)]
    given += ["--format brackets"] if options.format == "brackets" else []
    if given:
        raise ValueError(f"{given[0]} is for trees over words, and {options.model} finds meanings: leave it out")
    scored_by = options.scored_by or "posterior"
    found = model.parse_n_best(
        sentences,
        options.num_trees or 1,
        processor=processor,
        scored_by=scored_by,
        num_beams=options.num_beams or NUM_BEAMS,
        batch_size=options.batch_size or BATCH_SIZE,
    )
    for sentence, best in zip(sentences, found, strict=True):
        # Not every tree of Python has a text.
        texts = [str(each.tree) if each.text is None else each.text for each in best]
        if options.format == "json":
            meanings = [{"meaning": text, "log_prob": each.log_prob} for text, each in zip(texts, best, strict=True)]
            yield json.dumps({"text": sentence, "scored_by": scored_by, "meanings": meanings}, ensure_ascii=False)
        elif options.num_trees is None:
            yield texts[0] if texts else ""
        else:
            yield "\n".join(f"{each.log_prob:.4f}\t{text}" for text, each in zip(texts, best, strict=True))
