"""What counts as a bracket: the protocols by which published F1 numbers of unsupervised parsers were made.

| protocol | punctuation | brackets that count | one span twice | reported |
|---|---|---|---|---|
| `urnng-script` | kept | 2 words or more, without the outermost | once | corpus and sentence F1 |
| `urnng-evalb` | parsed, then removed by tag | all that still hold a word | as often as it stands there | corpus F1 |
| `prpn` | removed by tag before parsing | 2 words or more, without the whole sentence | once | sentence F1 |
| `compound-pcfg` | removed by tag before parsing | 2 words or more, without the whole sentence | once | both |

Numbers of two protocols cannot be compared: right-branching trees get from 0 to 40 among the four on one text.

**urnng-script** is what `parse.py` and `train.py` of github.com/harvardnlp/urnng print (Kim et al. 2019). They drop the
outermost bracket and not the span of the whole sentence: where a gold tree has a unary chain at its root, as in
`(S (VP ...))`, that span still counts, and no binary tree can have it. Sentences of one word, punctuation counted, are left
out. Its README says that these are not the numbers of the paper.

**urnng-evalb** is `evalb -p COLLINS.prm` on the two files that `parse.py` writes, as that README has it. The parameter file
asks for unlabelled brackets and deletes words by the tags `, : `` '' .` and -NONE-, but neither currency nor
`-LRB- -RRB-`. evalb matches brackets one to one, so repeated spans count as often as they stand on both sides; the whole
sentence counts; so does a gold phrase of one word, which a binary tree only meets where punctuation left a bracket with one
word. Only brackets without a word are dropped. evalb reports corpus precision, recall and F1; the mean over sentences is
ours. Sentences without a word left are left out, besides those that `parse.py` leaves out. evalb as it comes has room for
200 words a sentence and miscounts longer ones; here they count like others.

**prpn** is `test_phrase_grammar.py` and `data_ptb.py` of github.com/yikangshen/PRPN (Shen et al. 2018). It keeps words of 36
word tags of the Penn Treebank, so currency signs go with the punctuation, and every word of another tag set. Unary chains
collapse. Its F1 is the mean over sentences; without a gold bracket recall is 1, and precision is 1 if the prediction has
none either and else 0. That code counts sentences of one word, each with F1 1; here they are left out, as everybody did
afterwards. Nor is anything said of length here, where that code takes sentences of at most 10 words.

**compound-pcfg** is `eval.py` and `compare_trees.py` of github.com/harvardnlp/compound-pcfg (Kim, Dyer and Rush 2019), with
the word tags, the trivial brackets and the sentence F1 of prpn, and corpus F1 beside it. One difference is not followed:
that code drops the outermost bracket as urnng-script does, so that the whole sentence counts where it has a unary chain at
the root. On the 3,901 sentences of the Penn Treebank sample of nltk this costs right-branching trees 0.1 points of sentence
F1 (39.61 and not 39.71) and no corpus F1 to two decimals.

All the scripts add 1e-8 to denominators, which changes no second decimal and is left away.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hf_lvm.grammars.brackets import Bracketing

# `word_tags` of data_ptb.py in PRPN, which process_ptb.py in compound-pcfg takes over.
_WORD_TAGS = frozenset({
    "CC", "CD", "DT", "EX", "FW", "IN", "JJ", "JJR", "JJS", "LS", "MD", "NN", "NNS", "NNP", "NNPS",
    "PDT", "POS", "PRP", "PRP$", "RB", "RBR", "RBS", "RP", "SYM", "TO", "UH", "VB", "VBD", "VBG", "VBN",
    "VBP", "VBZ", "WDT", "WP", "WP$", "WRB",
})  # fmt: skip
# DELETE_LABEL of COLLINS.prm in urnng. Its TOP is a wrapper, which reading leaves away.
_EVALB_DELETED_TAGS = frozenset({"-NONE-", ",", ":", "``", "''", "."})


@dataclass(frozen=True)
class Protocol:
    """How one published F1 treats punctuation and brackets; see the module for each in words.

    Attributes:
        name: the name to choose it by.
        kept_tags: tags of the words that stay, or None for all but the deleted ones.
        deleted_tags: tags of the words that go.
        parses_punctuation: whether a parser sees the words that go. Then baselines are built over them too.
        counts_all: whether brackets of one word, of the whole sentence and repeated ones count.
        drops_outermost_only: whether the whole sentence counts where brackets repeat it.
    """

    name: str
    kept_tags: frozenset[str] | None = None
    deleted_tags: frozenset[str] = frozenset()
    parses_punctuation: bool = True
    counts_all: bool = False
    drops_outermost_only: bool = False

    @property
    def needs_tags(self) -> bool:
        return self.kept_tags is not None or bool(self.deleted_tags)

    def kept(self, gold: Bracketing, name: str) -> list[bool]:
        """Whether each of the n words stays, by the tags of the gold tree.

        Raises:
            ValueError: a word without a tag where tags are needed.
        """
        if not self.needs_tags:
            return [True] * len(gold.words)
        if None in gold.tags:
            word = gold.words[gold.tags.index(None)]
            raise ValueError(
                f"protocol {self.name!r} removes punctuation by tag, and {word!r} in {name} has no tag; "
                "write words as (DT the), or take 'urnng-script', which needs no tags"
            )
        if self.kept_tags is not None:
            return [tag in self.kept_tags for tag in gold.tags]
        return [tag not in self.deleted_tags for tag in gold.tags]

    def scores(self, kept: Sequence[bool]) -> bool:
        """Whether a sentence is scored or left out, by which of its words stay."""
        if self.counts_all:
            return len(kept) > 1 and any(kept)
        return sum(kept) > 1

    def count(self, spans: Sequence[tuple[int, int]], kept: Sequence[bool]) -> Counter[tuple[int, int]]:
        """How often each span counts.

        Args:
            spans: (first, last) word, inclusive, children before parents, as in [`Bracketing`]; over all words.
            kept: whether each word stays.

        Returns:
            Number of brackets for each span that counts, with words counted after the removal.
        """
        before = [0]  # words that stay before each place
        for stays in kept:
            before.append(before[-1] + stays)
        clean = [(before[first], before[last + 1] - 1) for first, last in spans]
        if self.counts_all:
            return Counter(span for span in clean if span[0] <= span[1])
        wide = [span for span in clean if span[0] < span[1]]
        if self.drops_outermost_only:
            return Counter(set(wide[:-1]))
        return Counter(set(wide) - {(0, before[-1] - 1)})


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("urnng-script", drops_outermost_only=True),
        Protocol("urnng-evalb", deleted_tags=_EVALB_DELETED_TAGS, counts_all=True),
        Protocol("prpn", kept_tags=_WORD_TAGS, parses_punctuation=False),
        Protocol("compound-pcfg", kept_tags=_WORD_TAGS, parses_punctuation=False),
    )
}
