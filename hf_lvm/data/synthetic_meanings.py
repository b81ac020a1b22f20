"""Questions with their meanings in lambda calculus from a probabilistic grammar that is written down here: about a harbour.

    which red boats in pier2 belong to captain1
    ( lambda $0 e ( and ( boat $0 ) ( red $0 ) ( in $0 pier2 ) ( owner $0 captain1 ) ) )

Each part of a meaning has several wordings, one of which is drawn, so that the latent meaning is known and the text is not a
copy of it. No text has two meanings. Meanings have up to two variables, and all of `and`, `or`, `not`, `exists`, `count`,
`argmax`, `argmin` and comparisons.
"""

import random
from collections.abc import Iterator

from datasets import Dataset, DatasetDict, Features, Value

from hf_lvm.data.splits import split_dataset

# Predicate -> wordings of one thing and of several.
_THINGS = {"boat": ("boats", "vessels"), "ferry": ("ferries",), "barge": ("barges", "river boats")}
_COLOURS = ("red", "green", "old", "fast")
_PLACES = tuple(f"pier{number}" for number in range(5))
_CAPTAINS = tuple(f"captain{number}" for number in range(5))
_NUMBERS = tuple(f"n{number}" for number in range(3))
_OPENINGS = {
    "lambda": ("which {}", "show me the {}", "list all {}", "what {} are there"),
    "count": ("how many {} are there", "count the {}", "the number of {}"),
    "argmax": ("the longest of the {}", "which of the {} is the longest"),
    "argmin": ("the shortest of the {}", "which of the {} is the shortest"),
}
_WEIGHTS = {"lambda": 6, "count": 2, "argmax": 1, "argmin": 1}


def generate(seed: int = 0) -> Iterator[tuple[str, str]]:
    """Draw questions with meanings without end. The same seed gives the same ones."""
    generator = random.Random(seed)
    while True:
        yield _question(generator)


def load(num_sentences: int = 3000, num_extra: int = 0, seed: int = 0) -> DatasetDict:
    """Questions with meanings, all different, in the splits `train`, `validation` and `test` (about 90%, 5%, 5%).

    Args:
        num_sentences (`int`, *optional*, defaults to 3000):
            How many questions there are in all splits together. Fewer are a part of more.
        num_extra (`int`, *optional*, defaults to 0):
            How many meanings without a question there are in a further split `extra`: all different, and none of
            them occurs in the other splits.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.

    Returns:
        `DatasetDict` with the columns `text` (None in `extra`) and `meaning`, in memory.

    Raises:
        ValueError: no sentence.
    """
    if num_sentences < 1 or num_extra < 0:
        raise ValueError(f"num_sentences={num_sentences} and num_extra={num_extra}: at least 1 and at least 0 are needed.")
    rows: dict[str, str] = {}
    draws = generate(seed)
    while len(rows) < num_sentences:
        text, meaning = next(draws)
        rows.setdefault(text, meaning)
    table = Dataset.from_dict({"text": list(rows), "meaning": list(rows.values())})
    splits = split_dataset(table, list(rows))
    known, extra = set(rows.values()), {}
    while len(extra) < num_extra:
        _, meaning = next(draws)
        if meaning not in known:
            extra[meaning] = None
    if extra:
        features = Features({"text": Value("string"), "meaning": Value("string")})
        splits["extra"] = Dataset.from_dict({"text": [None] * len(extra), "meaning": list(extra)}, features)
    return splits


def _question(generator: random.Random) -> tuple[str, str]:
    kinds = list(_WEIGHTS)
    kind = generator.choices(kinds, list(_WEIGHTS.values()))[0]
    words, parts = _things(generator, "$0")
    body = _joined("and", parts)
    opening = generator.choice(_OPENINGS[kind])
    if kind == "lambda":
        meaning = f"( lambda $0 e {body} )"
    elif kind == "count":
        meaning = f"( count $0 {body} )"
    else:
        meaning = f"( {kind} $0 {body} ( length $0 ) )"
    return opening.format(words), meaning


def _things(generator: random.Random, variable: str) -> tuple[str, list[str]]:
    """A noun phrase and the parts of what it says about a variable."""
    predicate = generator.choice(list(_THINGS))
    words, parts = [generator.choice(_THINGS[predicate])], [f"( {predicate} {variable} )"]
    for colour in generator.sample(_COLOURS, generator.choice((0, 0, 1, 2))):
        words.insert(0, colour)
        parts.insert(1, f"( {colour} {variable} )")
    # At most one clause inside another thing, so that what stands behind "and" is always said of the outer thing.
    clauses = generator.sample((_where, _whose, _how_long, _not), generator.choice((0, 1, 1, 2 if variable == "$0" else 1)))
    for number, clause in enumerate(clauses):
        text, part = clause(generator, variable)
        words.append(f"and {text}" if number else text)
        parts.append(part)
    return " ".join(words), parts


def _where(generator: random.Random, variable: str) -> tuple[str, str]:
    wording = generator.choice(("in {}", "moored at {}"))
    if generator.random() < 0.25:
        first, second = generator.sample(_PLACES, 2)
        return wording.format(f"{first} or {second}"), f"( or ( in {variable} {first} ) ( in {variable} {second} ) )"
    place = generator.choice(_PLACES)
    return wording.format(place), f"( in {variable} {place} )"


def _whose(generator: random.Random, variable: str) -> tuple[str, str]:
    if variable == "$0" and generator.random() < 0.4:
        # A relation to another thing, which is the second variable.
        words, parts = _things(generator, "$1")
        wording = generator.choice(("towed by {}", "that follow {}"))
        return wording.format(words), f"( exists $1 {_joined('and', [*parts, f'( follows {variable} $1 )'])} )"
    captain = generator.choice(_CAPTAINS)
    return generator.choice(("of {}", "that belong to {}")).format(captain), f"( owner {variable} {captain} )"


def _how_long(generator: random.Random, variable: str) -> tuple[str, str]:
    sign, wordings = generator.choice(((">", ("longer than {}", "of more than {}")), ("<", ("shorter than {}", "below {}"))))
    number = generator.choice(_NUMBERS)
    return generator.choice(wordings).format(number), f"( {sign} ( length {variable} ) {number} )"


def _not(generator: random.Random, variable: str) -> tuple[str, str]:
    colour = generator.choice(_COLOURS)
    return generator.choice(("that are not {}", "not {}")).format(colour), f"( not ( {colour} {variable} ) )"


def _joined(sign: str, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"( {sign} {' '.join(parts)} )"
