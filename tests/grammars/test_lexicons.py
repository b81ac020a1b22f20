"""Values of primitive types: each is written in one way, and none that is begun stays without an end."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.grammars.transition_system import AnyText, AnyWord, ClosedLexicon, Digits, Identifier, OpenLexicon, frequent_pieces
from hf_lvm.grammars.transition_system.characters import admitted
from hf_lvm.grammars.transition_system.lexicons import MAX_PIECE_LENGTH, NEVER, lexicon_from_dict, lexicon_to_dict


class EvenLength:
    """Strings of an even number of characters: some states are no end."""

    start = 0

    def step(self, state: int, character: str) -> int:
        return 1 - state

    def accepts(self, state: int) -> bool:
        return state == 0


def ways(lexicon: OpenLexicon, most: int) -> list[tuple[int, ...]]:
    """Every sequence of up to `most` pieces that the lexicon lets through and may end."""
    found, agenda = [], [(lexicon.start, ())]
    while agenda:
        state, row = agenda.pop()
        if lexicon.ends(state):
            found.append(row)
        if len(row) < most:
            agenda += [
                (lexicon.follow(state, piece), (*row, piece))
                for piece, steps in enumerate(lexicon.remaining(state).tolist())
                if steps != NEVER
            ]
    return found


pieces_of_ab = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(pieces_of_ab, st.sampled_from([AnyText(), EvenLength()]))
def test_exactly_the_longest_first_segmentations_are_let_through(pieces, rule):
    try:
        lexicon = OpenLexicon(pieces, rule)
    except ValueError:
        # Pieces such as "a", "aa" and "aaa" alone, of odd length, may make no value.
        assert isinstance(rule, EvenLength)
        return
    rows = ways(lexicon, 4)
    texts = ["".join(lexicon.pieces[piece] for piece in row) for row in rows]
    assert len(set(texts)) == len(texts)
    assert [lexicon.segment(text) for text in texts] == [list(row) for row in rows]
    # And no value is left out: any string that the longest piece first cuts into up to 4.
    longest = max(map(len, pieces))
    for length in range(5):
        for text in map("".join, itertools.product("ab", repeat=length)):
            expected = longest_first(text, lexicon.pieces, longest) if admitted(rule, text) else None
            assert lexicon.segment(text) == expected
            assert (text in texts) == (expected is not None and len(expected) <= 4)


def longest_first(text: str, pieces: tuple[str, ...], longest: int) -> list[int] | None:
    row = []
    while text:
        part = next((text[:length] for length in range(longest, 0, -1) if text[:length] in pieces), None)
        if part is None:
            return None
        row.append(pieces.index(part))
        text = text[len(part) :]
    return row


@settings(max_examples=40, deadline=None)
@given(pieces_of_ab)
def test_steps_to_the_end_are_the_fewest(pieces):
    try:
        lexicon = OpenLexicon(pieces, EvenLength())
    except ValueError:
        return
    agenda, seen = [lexicon.start], {lexicon.start}
    fewest = {}
    while agenda:
        state = agenda.pop()
        followers = [
            lexicon.follow(state, piece) for piece, steps in enumerate(lexicon.remaining(state).tolist()) if steps != NEVER
        ]
        fewest[state] = followers
        agenda += set(followers) - seen
        seen |= set(followers)
    steps = {state: 1 if lexicon.ends(state) else NEVER for state in seen}
    for _ in range(len(seen)):
        steps = {state: min([steps[state], *(1 + steps[after] for after in fewest[state])]) for state in seen}
    assert steps == {state: lexicon.needed(state) for state in seen}
    for state in seen:
        for piece, remaining in enumerate(lexicon.remaining(state).tolist()):
            assert lexicon.allows(state, piece) == (remaining != NEVER)
            assert remaining == NEVER or remaining == steps[lexicon.follow(state, piece)]


@pytest.mark.parametrize(
    ("rule", "values", "others"),
    [
        (Identifier(), ["x", "_x1", "forty", "é", "fo", "imports"], ["", "for", "1x", "a b", "x-y", "ﬁ", "e\u0301", "None"]),
        (Digits(), ["0", "10", "7"], ["", "00", "01", "-1", "1.0", "１"]),
        (AnyWord(), ["ci0", "$0", "<"], ["", "a b", "(", "a)"]),
        (AnyText(), ["", "a b\n("], []),
    ],
)
def test_rules(rule, values, others):
    assert [value for value in values + others if admitted(rule, value)] == values


def test_keyword_is_never_spelled():
    lexicon = OpenLexicon(["f", "o", "r", "or", "for"], Identifier())
    texts = {"".join(lexicon.pieces[piece] for piece in row) for row in ways(lexicon, 3)}
    assert {"f", "fo", "forf"} <= texts and not texts & {"for", "or", ""}
    assert lexicon.segment("for") is None and lexicon.segment("fo") == [0, 1]
    # After "for" a piece has to follow, and then the end.
    assert lexicon.remaining(lexicon.start)[4] == 2


def test_closed_lexicon():
    lexicon = ClosedLexicon(["ci0", "ci1", "ci0"], AnyWord())
    assert lexicon.pieces == ("ci0", "ci1") and lexicon.segment("ci1") == [1] and lexicon.segment("ci2") is None
    assert lexicon.admits("ci2") and not lexicon.admits("a b") and not ClosedLexicon(["a"]).admits("b")
    assert lexicon.remaining(lexicon.start).tolist() == [0, 0] and lexicon.follow(lexicon.start, 0) is None


@pytest.mark.parametrize("lexicon", [ClosedLexicon(["a", "b"]), OpenLexicon(["a", "ab"], Identifier()), OpenLexicon(["b"])])
def test_saved_lexicon_is_the_same(lexicon):
    again = lexicon_from_dict(lexicon_to_dict(lexicon))
    assert type(again) is type(lexicon) and again.pieces == lexicon.pieces and type(again.rule) is type(lexicon.rule)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClosedLexicon([]), "A closed lexicon without a value"),
        (lambda: OpenLexicon([]), "none is there, or an empty one"),
        (lambda: OpenLexicon(["a", ""]), "none is there, or an empty one"),
        (lambda: OpenLexicon(["for", "1"], Digits()) and OpenLexicon(["x", "-"], Digits()), "No value can be made"),
        (lambda: lexicon_to_dict(OpenLexicon(["aa"], EvenLength())), "The rule EvenLength cannot be saved: one of any_text"),
        (lambda: lexicon_from_dict({"open": True, "pieces": ["a"], "rule": "odd"}), "'odd' is no rule for characters"),
    ],
)
def test_what_is_no_lexicon_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_frequent_pieces():
    values = ["get_value", "get_name", "get", "x" * (MAX_PIECE_LENGTH + 1), "a  b"]
    pieces = frequent_pieces(values, 100, "q")
    assert {"q", "g", "_", "get", "_name", "_value", "  "} <= set(pieces) and len(set(pieces)) == len(pieces)
    assert max(map(len, pieces)) <= MAX_PIECE_LENGTH
    assert frequent_pieces(values, 3, "q") == sorted(set("".join(values)) | {"q"})
    lexicon = OpenLexicon(pieces)
    assert all("".join(lexicon.pieces[piece] for piece in lexicon.segment(value)) == value for value in values)
