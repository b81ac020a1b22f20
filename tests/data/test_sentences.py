import pytest

from hf_lvm.data.sentences import clean_sentences, is_clean_sentence, split_sentences, strip_markup, summary_and_body


@pytest.mark.parametrize(
    ("marked_up", "plain"),
    [
        ("Call :func:`~os.path.join` now.", "Call join now."),
        ("Call :py:meth:`Path.open` now.", "Call Path.open now."),
        ("See :ref:`the tutorial <tut>` first.", "See the tutorial first."),
        ("See `the guide <https://example.org>`_ first.", "See the guide first."),
        ("The ``key`` and `value` of *this* **pair**.", "The key and value of this pair."),
        ("The `old' style of quotes.", "The 'old' style of quotes."),
        ("Takes *args and **kwargs.", "Takes *args and **kwargs."),
        ("As shown in [1]_ and [Knuth]_.", "As shown in and."),
        ("Must _not_ be called\n   twice.", "Must not be called twice."),
        ("It\u2019s \u201cquoted\u201d.", 'It\'s "quoted".'),
    ],
)
def test_markup_goes_and_words_stay(marked_up, plain):
    assert strip_markup(marked_up) == plain


def test_sentences_are_not_cut_after_abbreviations():
    text = "Use a file, e.g. Readme, i.e. text. It is read, eg. here, etc. and closed! Was it? Yes (it was.) Done."
    assert list(split_sentences(text)) == [
        "Use a file, e.g. Readme, i.e. text.",
        "It is read, eg. here, etc. and closed!",
        "Was it?",
        "Yes (it was.)",
        "Done.",
    ]


DOCSTRING = """Open the file and return a stream.

    The file is opened for reading. It is
    closed when the stream is closed (see :meth:`close`).

    >>> open_file("x")
    This line is printed by the doctest.

    Heading of a section
    --------------------
    Text right under a heading is kept.

    Args:
        name: The name of the file.
            It must be the name of a file that exists.
        mode (str): The way to open it.

    An example follows this sentence::

        This is code and not a sentence.

    - Items of a list are sentences too.
    - name -- description of a name

    :param x: The value of the parameter.
    ===== =====
    Cells of tables.
    ===== =====
    +-----+
    | The cell of a grid. |
    Note: The prefix of this sentence goes.
    x = The_value.of(1)
    """


def test_only_prose_of_a_docstring_is_kept():
    assert clean_sentences(DOCSTRING) == [
        "Open the file and return a stream.",
        "The file is opened for reading.",
        "It is closed when the stream is closed (see close).",
        "Text right under a heading is kept.",
        "Items of a list are sentences too.",
        "The prefix of this sentence goes.",
    ]


def test_summary_without_full_stop_is_completed():
    assert clean_sentences("Return the name of the file") == ["Return the name of the file."]
    assert clean_sentences("Return one of the following:") == []


def test_summary_must_be_the_first_sentence():
    assert summary_and_body("Open the file.\n\nIt is read at once. x=1.") == ("Open the file.", "It is read at once.")
    assert summary_and_body("x = open(y).\n\nIt is read at once.") == ("", "It is read at once.")
    assert summary_and_body("") == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "return the value of x.",
        "Return the value",
        "Return {value} of the key.",
        "Return (the value of the key.",
        'Return "the value of the key.',
        "TODO write the rest of this.",
        "See https://example.org for the rest.",
        "Two words.",
        "Foo.bar(baz) qux_quux CamelCase.name x1y2 is.",
        "Split the name at '.'",
        "Find the matching option, ie.",
        "The caf\u00e9 is closed.",
    ],
)
def test_doubtful_sentences_are_refused(text):
    assert not is_clean_sentence(text)
