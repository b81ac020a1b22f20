"""When two meanings are the same: by the published rule, and whatever the order of parts and the names of variables."""

import itertools
import random

import pytest

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import build_language

CALCULUS = build_language("lambda_calculus")
BINDERS = ("Lambda", "Exists", "The", "Count", "Max", "Min", "Argmax", "Argmin", "Sum")


def same(left: str, right: str, rule: str, language=CALCULUS) -> bool:
    return language.canonical(language.parse(left), rule) == language.canonical(language.parse(right), rule)


@pytest.mark.parametrize(
    ("left", "right", "published", "full"),
    [
        # Parts in another order: of other predicates, of the same, inside one another, and not of `=`.
        ("( and ( p a ) ( q a ) )", "( and ( q a ) ( p a ) )", True, True),
        ("( or ( p a ) ( p b ) )", "( or ( p b ) ( p a ) )", False, True),
        ("( f ( and x ( or y z ) ) )", "( f ( and ( or z y ) x ) )", True, True),
        ("( = x y )", "( = y x )", False, False),
        ("( p x y )", "( p y x )", False, False),
        ("( and ( p x ) ( p x ) )", "( p x )", False, False),
        ("( and ( p x ) ( p x ) ( q x ) )", "( and ( p x ) ( q x ) ( q x ) )", False, False),
        ("( and x ( and y z ) )", "( and x y z )", False, False),
        ("( and ( > x y ) ( < x y ) )", "( and ( < x y ) ( > x y ) )", True, True),
        # Names.
        ("( lambda $0 e ( p $0 ) )", "( lambda $5 e ( p $5 ) )", False, True),
        ("( lambda $0 e ( p $0 ) )", "( lambda $0 i ( p $0 ) )", False, False),
        ("( lambda $0 e ( p $0 ) )", "( lambda $0 e ( p $1 ) )", False, False),
        ("( p $0 )", "( p $1 )", False, False),
        ("( exists $0 ( exists $1 ( p $0 $1 ) ) )", "( exists $1 ( exists $0 ( p $0 $1 ) ) )", False, False),
        ("( exists $0 ( exists $1 ( p $0 $1 ) ) )", "( exists $1 ( exists $0 ( p $1 $0 ) ) )", False, True),
        # An inner variable hides one of the same name around it.
        ("( max $0 ( and ( max $0 ( p $0 ) ) ( q $0 ) ) )", "( max $0 ( and ( q $0 ) ( max $1 ( p $1 ) ) ) )", False, True),
        ("( exists $0 ( exists $0 ( p $0 ) ) )", "( exists $0 ( exists $1 ( p $0 ) ) )", False, False),
        ("( exists $0 ( exists $0 ( p $0 ) ) )", "( exists $0 ( exists $1 ( p $1 ) ) )", False, True),
        # Variables of two operators in one `and`: only the order of the operators says which is which.
        (
            "( lambda $0 e ( lambda $1 e ( and ( p $0 ) ( p $1 ) ( q $0 $1 ) ) ) )",
            "( lambda $1 e ( lambda $0 e ( and ( p $0 ) ( q $1 $0 ) ( p $1 ) ) ) )", False, True,
        ),
        ("( and ( max $0 ( p $0 ) ) ( max $1 ( q $1 ) ) )", "( and ( max $0 ( q $0 ) ) ( max $1 ( p $1 ) ) )", False, True),
        # Something unbound keeps its name, also the one that a level would have had.
        ("( exists $1 ( p $1 $0 ) )", "( exists $0 ( p $0 $0 ) )", False, False),
        ("( exists $1 ( p $1 $0 ) )", "( exists $2 ( p $2 $0 ) )", False, True),
        ("( and ( exists $1 ( p $1 ) ) $0 )", "( and $0 ( exists $0 ( p $0 ) ) )", False, True),
        ("( argmax $0 ( p $0 ) ( f $0 ) )", "( argmax $1 ( p $1 ) ( f $1 ) )", False, True),
        ("( argmax $0 ( p $0 ) ( f $0 ) )", "( argmin $0 ( p $0 ) ( f $0 ) )", False, False),
    ],
)  # fmt: skip
def test_pairs_of_meanings(left, right, published, full):
    assert same(left, right, "published") == published
    assert same(left, right, "full") == full


def test_canonical_texts_as_they_are_written():
    tree = CALCULUS.parse("( lambda $3 e ( and ( to $3 b ) ( exists $3 ( p $3 $7 ) ) ( to $3 a ) ( at $0 ) ) )")
    published = CALCULUS.write(CALCULUS.canonical(tree, "published"))
    assert published == "( lambda $3 e ( and ( at $0 ) ( exists $3 ( p $3 $7 ) ) ( to $3 b ) ( to $3 a ) ) )"
    # $0 is free, so that levels are $1, $2 and so on.
    full = CALCULUS.write(CALCULUS.canonical(tree, "full"))
    assert full == "( lambda $1 e ( and ( at $0 ) ( to $1 a ) ( to $1 b ) ( exists $2 ( p $2 $7 ) ) ) )"


def random_tree(generator: random.Random, depth: int) -> Node:
    """Variables of few names, so that some are hidden and some free; few predicates, so that parts are alike."""
    kind = generator.choice(("leaf", "apply", "apply", "junction", "junction", "bind", "bind", "equal")) if depth else "leaf"
    if kind == "leaf":
        return (
            Node("Entity", ("a",)) if generator.random() < 0.3 else Node("Variable", (generator.choice(("$0", "$1", "$2")),))
        )
    if kind == "bind":
        constructor, name = generator.choice(BINDERS), generator.choice(("$0", "$1", "$2"))
        bodies = 2 if constructor in ("Argmax", "Argmin", "Sum") else 1
        first = (name, "e") if constructor == "Lambda" else (name,)
        return Node(constructor, (*first, *(random_tree(generator, depth - 1) for _ in range(bodies))))
    parts = tuple(random_tree(generator, depth - 1) for _ in range(2 if kind == "equal" else generator.randint(1, 3)))
    if kind == "apply":
        return Node("Apply", (generator.choice("pq"), parts))
    return Node("Equal", parts) if kind == "equal" else Node(generator.choice(("And", "Or")), (parts,))


def scrambled(tree: Node, generator: random.Random, names: dict[str, str], fresh: itertools.count) -> Node:
    """The same meaning: parts of `and` and `or` shuffled, every bound variable with a new name."""
    if tree.constructor == "Variable":
        return Node("Variable", (names.get(tree.children[0], tree.children[0]),))
    children = list(tree.children)
    if tree.constructor in BINDERS:
        names = {**names, children[0]: f"$v{next(fresh)}"}
        children[0] = names[tree.children[0]]
    for place, child in enumerate(children):
        if isinstance(child, tuple):
            parts = [scrambled(part, generator, names, fresh) for part in child]
            if tree.constructor in ("And", "Or"):
                generator.shuffle(parts)
            children[place] = tuple(parts)
        elif isinstance(child, Node):
            children[place] = scrambled(child, generator, names, fresh)
    return Node(tree.constructor, tuple(children))


def equivalent(left: Node, right: Node, pairs: tuple[tuple[str, str], ...] = ()) -> bool:
    """Whether renaming and reordering turn one tree into the other, by trying every order: no canonical form involved."""
    if left.constructor != right.constructor or len(left.children) != len(right.children):
        return False
    if left.constructor == "Variable":
        own, other = left.children[0], right.children[0]
        for a, b in reversed(pairs):
            if a == own or b == other:
                return a == own and b == other
        return own == other
    rest = list(zip(left.children, right.children, strict=True))
    if left.constructor in BINDERS:
        pairs, rest = (*pairs, rest[0]), rest[1:]
    for own, other in rest:
        if isinstance(own, tuple):
            orders = itertools.permutations(other) if left.constructor in ("And", "Or") else [other]
            if len(own) != len(other) or not any(
                all(equivalent(a, b, pairs) for a, b in zip(own, order, strict=True)) for order in orders
            ):
                return False
        elif isinstance(own, Node):
            if not equivalent(own, other, pairs):
                return False
        elif own != other:
            return False
    return True


def test_scrambled_meanings_have_one_canonical_form():
    generator = random.Random(0)
    for _ in range(600):
        tree = random_tree(generator, generator.randint(1, 5))
        canonical = CALCULUS.canonical(tree, "full")
        CALCULUS.grammar.check(canonical)
        for _ in range(2):
            assert CALCULUS.canonical(scrambled(tree, generator, {}, itertools.count()), "full") == canonical
        assert CALCULUS.canonical(canonical, "full") == canonical
        assert equivalent(tree, canonical)


def test_meanings_are_the_same_exactly_if_an_order_and_names_make_them_so():
    """Pairs of random trees of which one is nearly the other, decided by trying every order as well."""
    generator, counts = random.Random(1), [0, 0]
    for _ in range(1500):
        tree = random_tree(generator, generator.randint(2, 4))
        leaf = generator.choice([node for node in tree.nodes if node.constructor in ("Variable", "Entity")])
        changed = replaced(tree, leaf, generator.choice([Node("Variable", ("$1",)), Node("Entity", ("a",)), leaf]))
        other = scrambled(changed, generator, {}, itertools.count())
        expected = equivalent(tree, other)
        assert (CALCULUS.canonical(tree, "full") == CALCULUS.canonical(other, "full")) == expected, (str(tree), str(other))
        counts[expected] += 1
    assert min(counts) > 300


def test_swapped_arguments_are_another_meaning():
    generator, swapped = random.Random(2), 0
    for _ in range(400):
        tree = random_tree(generator, 4)
        places = [node for node in tree.nodes if node.constructor == "Apply" and len(set(node.children[1])) > 1]
        if places:
            chosen = generator.choice(places)
            other = replaced(tree, chosen, Node("Apply", (chosen.children[0], chosen.children[1][::-1])))
            if not equivalent(tree, other):
                swapped += 1
                assert CALCULUS.canonical(tree, "full") != CALCULUS.canonical(other, "full")
                assert CALCULUS.canonical(tree, "published") != CALCULUS.canonical(other, "published")
    assert swapped > 100


def replaced(tree: Node, old: Node, new: Node) -> Node:
    """A tree with each node that equals another one replaced."""
    if tree == old:
        return new
    children = (
        tuple(replaced(part, old, new) for part in child) if isinstance(child, tuple)
        else replaced(child, old, new) if isinstance(child, Node) else child
        for child in tree.children
    )  # fmt: skip
    return Node(tree.constructor, tuple(children))


def test_bracketed_expressions():
    typed = build_language("s_expressions", spaced=False)
    left, right = "(and:<t*,t> (p:t $0) (q:t $0))", "(and:<t*,t> (q:t $0) (p:t $0))"
    assert same(left, right, "published", typed) and same(left, right, "full", typed)
    left, right = "(or (p a) (p b))", "(or (p b) (p a))"
    assert not same(left, right, "published", typed) and same(left, right, "full", typed)
    assert not same("(f x y)", "(f y x)", "full", typed)
    set_language = build_language("s_expressions", unordered=["set"])
    assert same("( set x y )", "( set y x )", "full", set_language)
    assert not same("( and x y )", "( and y x )", "full", set_language)
