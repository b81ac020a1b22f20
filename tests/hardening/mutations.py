"""Configs and command lines that somebody, or something, has damaged: seeded, so that a number names each of them."""

import random
import re
from collections.abc import Sequence

KEY = re.compile(r"^(\w+):(.*)$")
# More decimal digits than Python turns into an integer.
ENDLESS = "9" * 5000
NUMBERS = [
    "0", "-1", "1", "2", "3.7", "1e-4", "1e400", "-1e400", "1e-400", ".nan", ".inf", "-.inf", "nan", "inf", "-0.0", "1_000",
    "0x1F", "0o17", "012", "12:30:45", "1.5.2", "1e", "99999999999999999999", "-99999999999999999999", ENDLESS, "5%", "1/2",
]  # fmt: skip
WORDS = [
    "''", "null", "~", "true", "false", "True", "yes", "no", "none", "auto", "words", "bpe", "bert", "gpt2", "lstm", "rnng",
    "segments", "dilated_cnn", "t5", "elbo", "iwae", "exact", "rloo", "vimco", "prefix", "cross_attention", "linear", "cosine",
    "steps", "epoch", "best", "encoder", "decoder", "all", "adamw_torch", "adafactor", "nowhere/nothing", "./nowhere",
    "/nowhere/at/all.txt", "~nobody/x", "nowhere.jsonl", "a b", "ünïcödé", "\u202egnp", "\U0001f984", "\u0000", "\ud800",
    "x" * 100_000, "../..", "{folder}", "{binary}", "{empty}", "{table}", "{texts}", "-", "--", "%s%n", "{0}", "$HOME", "=",
]  # fmt: skip
STRUCTURES = [
    "[]", "{}", "[1, 2]", "[a, b, c]", "[[a]]", "[null]", "[a, [b, [c]]]", "{a: 1}", "{a: {b: c}}", "{1: 2}", "{[a]: b}",
    "{power: 2.0}", "[true, 1.5, x]", "\n  - a\n  - b", "\n  a: 1\n  b: 2", "\n\ta: 1", "|\n  some\n  lines", ">\n  folded",
    "[" * 60 + "]" * 60, "[" * 3000, "{a: " * 40 + "1" + "}" * 40, "[a, b", "{a: b", "'unterminated", '"\\xZZ"', '"\\ud800"',
    '"\\0"', "a: b", "a: b: c", "- a", "? a", "@at", "`tick`", "%percent", "# nothing", "*nobody", "&a", "&a [*a]",
    "&a {b: *a}", "&a 1", "[&b x, *b]", "!!python/object/apply:os.system [\"touch {marker}\"]",
    "!!python/object/new:os.system [\"touch {marker}\"]", "!!python/name:os.system", "!!python/module:os",
    "!!python/tuple [1]",
    "!!binary aGk=", "!!binary '*'", "!!float abc", "!!int abc", "!!int ''", "!!float ''", "!!bool maybe", "!!bool true",
    "!!null x", "!!str 5", "!!set {a, b}", "!!omap [a: 1]", "!!omap 3", "!!pairs [a: 1]", "!!timestamp 2024-01-01",
    "!!timestamp x", "!!map 3", "!!seq 3", "!unknown x", "!<tag:yaml.org,2002:int> 7", "!! x", "!<> x", "2024-01-01",
    "2024-99-99", "<<", "! ''",
]  # fmt: skip
# Nine lists of nine: each value is nine times the one before, and all of it a billion if it is ever written out.
LAUGHS = "\n".join(
    ["laugh0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    + [f"laugh{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
)
LINES = [
    "---", "...", "%YAML 9.9", "%TAG ! x", "- a", "a", "? [a, b]\n: c", "? {a: b}\n: c", "<<: {seed: 3}", "<<: *nobody",
    "<<: 3", "!!str seed: 3", "!!int x: 3", "1: 2", "null: 3", "true: x", "2.5: x", ": x", "''  : x", "'': x", "\tseed: 3",
    "  seed: 3", "seed : 3", "seed:3", "seed: 3 # why", "SEED: 3", "encoder_: 3", "decoder_: [1]", "encoder_x: 1",
    "decoder_hidden_size: -3", "encoder_hidden_size: {a: 1}", "decoder_vocab_size: many", "encoder_dropout: 7",
    "decoder_num_hidden_layers: 0", "encoder_num_attention_heads: 0", "decoder_num_attention_heads: 5",
    "encoder_model_type: gpt2", "decoder_model_type: 3", "encoder_architectures: [X]", "decoder_auto_map: {AutoModel: a--b.C}",
    "!!python/object/apply:os.system [\"touch {marker}\"]: 3", LAUGHS,
]  # fmt: skip
PIECES = [b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3", b"\t", b"\r", b"\x85", b":", b"'", b'"', b"&", b"*",
          b"!", b"%", b"@", b"[", b"}", b"\n", b"  ", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"#", b"---\n", b"|",
          b">", b"-"]  # fmt: skip


# What a size, a share or a name may be by mistake and still pass for one.
WHOLE, SHARES = [0, -1, 1, 2, 3, 5, 7, 64, 1000, 10**6, 10**12], ["0.0", "-0.5", "0.5", "1.5", "0.999", "1e30", "1e-30"]
SIZES = [
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings", "vocab_size",
    "embedding_size", "dropout", "bidirectional", "num_key_value_heads", "pad_token_id", "eos_token_id", "type_vocab_size",
    "attn_pdrop", "hidden_dropout_prob", "hidden_act", "layer_norm_epsilon", "initializer_range", "tie_word_embeddings",
]  # fmt: skip
FAMILIES = [
    "bert", "gpt2", "lstm", "roberta", "modernbert", "t5", "llama", "qwen3", "opt", "bart", "mamba", "dilated_cnn", "bigram",
    "rnng", "segments", "bag_of_words", "vit", "whisper", "clip", "hf_lvm_text_vae", "none",
]  # fmt: skip


def value(rng: random.Random) -> str:
    """A value behind a key."""
    return rng.choice(rng.choice([NUMBERS, WORDS, STRUCTURES]))


def damaged_config(rng: random.Random, seed: str, keys: Sequence[str]) -> bytes:
    """A YAML file with one to four mistakes.

    Args:
        seed: a file that is right.
        keys: keys that a file may hold, those of other models among them.
    """
    lines = seed.splitlines()
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        _damage(rng, lines, keys)
    text = "\n".join(lines) + "\n"
    content = text.encode("utf-8", errors="surrogatepass")
    kind = rng.random()
    if kind < 0.06:
        return content[: rng.randrange(len(content))]
    if kind < 0.12:
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(content))
            content = content[:place] + rng.choice(PIECES) + content[place + rng.randint(0, 2) :]
    elif kind < 0.14:
        return text.encode(rng.choice(["utf-16", "utf-32", "latin-1", "utf-8-sig"]), errors="replace")
    elif kind < 0.15:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    return content


def _damage(rng: random.Random, lines: list[str], keys: Sequence[str]) -> None:
    with_key = [place for place, line in enumerate(lines) if KEY.match(line)]
    if not with_key:
        lines.append(rng.choice(LINES))
        return
    place = rng.choice(with_key)
    key, old = KEY.match(lines[place]).groups()
    kind = rng.randrange(16)
    if kind >= 13:
        lines[place] = f"{key}: {_near(rng, key, old.strip())}"
    elif kind >= 10:
        part = rng.choice(["encoder", "decoder", "encoder", "decoder", "prior", "sender", "receiver", "parser", "compressor"])
        lines.append(f"{part}_{rng.choice(SIZES)}: {rng.choice([*WHOLE, *SHARES, rng.choice(WORDS), 'true', 'relu'])}")
    elif kind == 0:
        del lines[place]
    elif kind == 1:
        lines[place] = f"{_slip(rng, key)}:{old}"
    elif kind == 2:
        lines.insert(rng.randrange(len(lines) + 1), f"{key}: {value(rng)}")
    elif kind == 3:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(LINES))
    elif kind == 4:
        lines[place] = f"{key}:\n  {key}:{old}"
    elif kind == 5:
        _, other = KEY.match(lines[rng.choice(with_key)]).groups()
        lines[place] = f"{key}:{other}"
    elif kind <= 7:
        lines[place] = f"{key}: {value(rng)}"
    else:
        lines.append(f"{rng.choice(keys)}: {value(rng)}")


def _near(rng: random.Random, key: str, old: str) -> str:
    """A value of the same kind."""
    if key in ("encoder", "decoder", "prior", "sender", "receiver"):
        return rng.choice(FAMILIES)
    if re.fullmatch(r"-?[0-9]+", old):
        return str(rng.choice(WHOLE))
    if re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", old):
        return rng.choice(SHARES)
    return rng.choice(WORDS)


STRAYS = ["-", "--", "---", "-x", "-h=3", "--=", "--=x", "--no_such_flag", "-1", "@file", "", "--ä", "--config", "--config=",
          "--model_type", "-\u0000", "--\ud800", "--help=1"]  # fmt: skip


def damaged_flags(rng: random.Random, seed: Sequence[str], keys: Sequence[str]) -> list[str]:
    """A command line with one to four mistakes; `seed` is one that is right, `keys` what flags may be called."""
    argv = list(seed)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        place = rng.randrange(len(argv) + 1)
        kind = rng.randrange(10)
        if kind <= 1 and argv:
            del argv[min(place, len(argv) - 1)]
        elif kind == 2 and argv:
            argv.insert(place, rng.choice(argv))
        elif kind == 3:
            argv.insert(place, rng.choice(STRAYS))
        elif kind == 4 and argv:
            argv[min(place, len(argv) - 1)] = _slip(rng, argv[min(place, len(argv) - 1)])
        elif kind == 5:
            argv.append(f"--{rng.choice(keys)}={value(rng)}")
        elif kind <= 7 and argv:
            argv[min(place, len(argv) - 1)] = value(rng)
        else:
            argv += [f"--{rng.choice(keys)}", value(rng)]
    return argv


def _slip(rng: random.Random, word: str) -> str:
    if not word:
        return "x"
    place = rng.randrange(len(word))
    return rng.choice(
        [
            word[:place] + word[place + 1 :],
            word[:place] + word[place] + word[place:],
            word[:place] + rng.choice("-_ .:Xé\u0000") + word[place + 1 :],
            word.upper(),
            word[::-1],
            "",
        ]
    )
