"""Every public method of every distribution: a row gets the same alone, in any batch and however far it is padded; the dtype
that went in comes out; gradients are finite and reach nothing behind a length. And what is exact, against all values listed.
"""

import inspect
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Distribution, kl_divergence

import hf_lvm.distributions
from hf_lvm.distributions import CanonicalDeletion, UniformSymbols, interpolate_latents
from tests.hardening.distributions import ANOTHER, FAMILIES, SIZE, Row, generator
from tests.hardening.examples import close, examples, few_examples

# The longest first: what is tried first is made of what comes first.
LENGTH = st.integers(1, 4).map(lambda number: 5 - number)
ROWS = st.lists(st.tuples(st.integers(0, 10**6), LENGTH), min_size=2, max_size=3)
ROW = ROWS.map(lambda rows: rows[0])
STRUCTURED = [name for name, family in FAMILIES.items() if family.structured]
FINITE = [*STRUCTURED, "categories"]


@dataclass
class Case:
    """A distribution of some rows, another of the same, and a value of each row."""

    distribution: Distribution
    parameters: list[torch.Tensor]
    other: Distribution
    value: torch.Tensor
    rows: list[Row]

    @property
    def generators(self) -> list[torch.Generator]:
        return [generator(row, 5) for row in self.rows]

    def pair_values(self) -> torch.Tensor:
        """Of deletions: the scores of the other one."""
        return self.other.pair_scores.detach()


def case_of(name: str, rows: list[Row], extra: int = 0, dtype: torch.dtype = torch.float64) -> Case:
    build, width = FAMILIES[name].build, max(length for _, length in rows) + extra
    distribution, parameters = build(rows, width, dtype)
    other, _ = build([(seed + ANOTHER, length) for seed, length in rows], width, dtype)
    value = build(rows, width, torch.float64)[0].sample((), [generator(row, 4) for row in rows])
    return Case(distribution, parameters, other, value.to(dtype) if value.is_floating_point() else value, rows)


def firsts(*outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """With the batch, which is behind samples, in front."""
    return tuple(each.movedim(1, 0) for each in outputs)


# What a method gives, batch first.
EVERY = {
    "log_prob": lambda c: c.distribution.log_prob(c.value),
    "sample": lambda c: firsts(c.distribution.sample((2,), c.generators)),
}
MOVABLE = {
    "detached": lambda c: c.distribution.detached().log_prob(c.value),
    "expand": lambda c: c.distribution.expand(c.distribution.batch_shape).log_prob(c.value),
}
MOMENTS = {"mean": lambda c: c.distribution.mean, "variance": lambda c: c.distribution.variance}
RSAMPLE = {"rsample": lambda c: firsts(c.distribution.rsample((2,), c.generators))}
ENTROPY = {"entropy": lambda c: c.distribution.entropy()}
MODE = {"mode": lambda c: c.distribution.mode}
STRUCTURE = EVERY | MOVABLE | ENTROPY | MODE | {
    "log_partition": lambda c: c.distribution.log_partition,
    "marginals": lambda c: c.distribution.marginals,
    "score": lambda c: c.distribution.score(c.value),
    "argmax": lambda c: c.distribution.argmax,
    "max_score": lambda c: c.distribution.max_score,
    "k_best": lambda c: firsts(*c.distribution.k_best(3)),
    "sample_and_log_prob": lambda c: firsts(*c.distribution.sample_and_log_prob((2,), c.generators)),
    "cross_entropy": lambda c: c.distribution.cross_entropy(c.other),
}  # fmt: skip
RELAXED = {
    "relaxed_sample": lambda c: firsts(
        *(c.distribution.relaxed_sample((2,), 0.7, hard=hard, generator=c.generators) for hard in (False, True))
    )
}
METHODS = {
    "LinearChainCRF": STRUCTURE | {"unary_marginals": lambda c: c.distribution.unary_marginals},
    "BinaryTreeCRF": STRUCTURE | RELAXED | {
        "constrained": lambda c: (
            c.distribution.constrained(required=c.value).log_partition,
            c.distribution.constrained(forbidden=c.other.argmax & ~c.value).marginals,
        ),
        "sample_without_replacement": lambda c: firsts(*c.distribution.sample_without_replacement(2, c.generators)),
    },
    "CanonicalDeletion": STRUCTURE | RELAXED | {
        "canonical": lambda c: c.distribution.canonical(c.other.argmax | c.value),
        # The last column is that of the end: put first, it stands at the same place in every batch.
        "pair_marginals": lambda c: c.distribution.pair_marginals.roll(1, -1),
        "count_log_probs": lambda c: c.distribution.count_log_probs.exp(),
        "expected": lambda c: c.distribution.expected(c.pair_values()),
        "reweighted": lambda c: c.distribution.reweighted(c.pair_values()).log_partition,
        "given_count": lambda c: (
            c.distribution if c.distribution.count is not None else c.distribution.given_count(1)
        ).entropy(),
        "support_size": lambda c: c.distribution.support_size,
    },
    "DiagonalGaussian": EVERY | MOVABLE | MOMENTS | RSAMPLE | ENTROPY | MODE | {
        "kl_per_dimension": lambda c: c.distribution.kl_per_dimension(c.other),
    },
    "VonMisesFisher": EVERY | MOVABLE | MOMENTS | RSAMPLE | ENTROPY | MODE | {
        "kl_to_uniform": lambda c: c.distribution.kl_to_uniform(),
        "mean_cosine": lambda c: c.distribution.mean_cosine,
    },
    "HypersphericalUniform": EVERY | MOMENTS | RSAMPLE | ENTROPY,
    "CategoricalVector": EVERY | MOVABLE | ENTROPY | MODE | {
        "probs": lambda c: c.distribution.probs,
        "entropy_per_dimension": lambda c: c.distribution.entropy_per_dimension(),
        "kl_per_dimension": lambda c: c.distribution.kl_per_dimension(c.other),
        "gumbels": lambda c: firsts(c.distribution.gumbels((2,), c.generators)),
        "relaxed_sample": lambda c: firsts(c.distribution.relaxed_sample(0.7, (2,), c.generators)),
        "one_hot": lambda c: c.distribution.one_hot(c.value),
        "top_k": lambda c: firsts(c.distribution.top_k(3)),
        "sample_excluding": lambda c: firsts(
            c.distribution.sample_excluding(c.distribution.top_k(2), (2,), c.generators)
        ),
        "observed_log_prob": lambda c: c.distribution.observed_log_prob(half_known(c.value)),
        "given": lambda c: c.distribution.given(half_known(c.value)).probs,
        "with_logits": lambda c: c.distribution.with_logits(c.other.logits.detach()).probs,
        "marginal": lambda c: c.distribution.marginal(1, 2).probs,
    },
    "Dirichlet": EVERY | MOVABLE | MOMENTS | RSAMPLE | ENTROPY,
    "GaussianMixture": EVERY | MOMENTS,
    "NormalizingFlow": EVERY | RSAMPLE,
}  # fmt: skip
# What is looked at in tests of its own below.
APART = {
    "CanonicalDeletion": {"from_unary"},
    "CategoricalVector": {"support_size"},
    "NormalizingFlow": {"mean", "variance"},
    "UniformSymbols": {"log_prob", "sample", "step_log_probs", "symbol_log_probs"},
}
OF_EVERY_CLASS = {"arg_constraints", "support", "has_rsample", "has_enumerate_support", "enumerate_support"}
SIZES = {"num_labels", "num_states", "num_classes"}
DRAWN = {"sample", "rsample", "sample_and_log_prob", "relaxed_sample", "gumbels"}
DRAWN |= {"sample_excluding", "sample_without_replacement"}
ALWAYS_FLOAT64 = {"mean_cosine", "support_size", "sample_without_replacement"}


def half_known(value: torch.Tensor) -> torch.Tensor:
    """The first variable is known in rows where it is not 0, the second is not."""
    return torch.stack([value[:, 0].masked_fill(value[:, 0] == 0, -1), torch.full_like(value[:, 1], -1)], dim=1)


def outputs_of(case: Case) -> dict[str, torch.Tensor]:
    found = {}
    for name, method in METHODS[type(case.distribution).__name__].items():
        results = method(case)
        for place, result in enumerate(results if isinstance(results, tuple) else (results,)):
            found[f"{name} {place}"] = result
    return found


def test_every_public_method_is_looked_at():
    classes = {
        name: kind
        for name in hf_lvm.distributions.__all__
        if inspect.isclass(kind := getattr(hf_lvm.distributions, name)) and issubclass(kind, Distribution)
    }
    assert set(classes) == set(METHODS) | {"UniformSymbols"}
    assert {type(case_of(name, [(0, 2)]).distribution).__name__ for name in FAMILIES} == set(METHODS)
    for name, kind in classes.items():
        own = [base for base in kind.__mro__ if base.__module__.startswith("hf_lvm.")]
        public = {each for base in own for each in vars(base) if not each.startswith("_")} - OF_EVERY_CLASS - SIZES
        looked_at = METHODS.get(name, {}).keys() | APART.get(name, set())
        assert public <= looked_at, f"{name}: no property of {sorted(public - looked_at)}"


@pytest.mark.parametrize("name", FAMILIES)
@few_examples
@given(rows=ROWS, extra=st.integers(0, 2), half=st.booleans())
def test_whatever_a_method_gives_a_row(name, rows, extra, half):
    """It is the same alone and in a padded batch, and in float32 but for rounding; gradients reach nothing behind a length."""
    case = case_of(name, rows, extra)
    together, row = outputs_of(case), len(rows) - 1
    for method, alone in outputs_of(case_of(name, [rows[row]])).items():
        found = together[method][row].detach()
        inside = tuple(slice(0, size) for size in alone.shape[1:])
        assert found.dtype == alone.dtype, method
        torch.testing.assert_close(found[inside], alone[0], rtol=1e-9, atol=1e-9, msg=lambda m, at=method: f"{at}: {m}")
        behind = found.clone()
        behind[inside] = 0
        assert (behind == 0).all(), method
    # Sums in bfloat16 would be none: what is wide is computed in float32, and parameters are numbers that bfloat16 has.
    wide = FAMILIES[name].structured or name == "categories"
    narrow = outputs_of(case_of(name, rows, extra, torch.bfloat16 if half and wide else torch.float32))
    total = torch.zeros((), dtype=torch.float64)
    for method, result in together.items():
        own = method.split()[0]
        if not result.is_floating_point():
            assert narrow[method].dtype == result.dtype, method
            continue
        assert narrow[method].dtype == (torch.float64 if own in ALWAYS_FLOAT64 else torch.float32), method
        if own not in DRAWN:
            torch.testing.assert_close(
                narrow[method].double(), result, rtol=1e-4, atol=1e-3, msg=lambda m, at=method: f"{at}: {m}"
            )
        if result.requires_grad:
            total = total + result.masked_fill(result.isinf(), 0.0).sum()
        else:
            assert own not in ("log_prob", "entropy", "rsample", "score") or not case.parameters, method
    if case.parameters:
        for gradient, parameter in zip(torch.autograd.grad(total, case.parameters), case.parameters, strict=True):
            assert gradient.isfinite().all()
            assert (gradient[parameter.isnan()] == 0).all()


@pytest.mark.parametrize("name", FAMILIES)
@few_examples
@given(rows=ROWS, extra=st.integers(0, 2))
def test_samples_are_of_the_support_and_have_a_density(name, rows, extra):
    case = case_of(name, rows, extra)
    q = case.distribution
    for shape in ((), (2, 1), (0,)):
        samples = q.sample(shape, case.generators)
        assert samples.shape == torch.Size(shape) + q.batch_shape + q.event_shape
        assert not samples.requires_grad
        if 0 in shape:  # which torch itself cannot reduce
            continue
        assert q.support.check(samples).all()
        log_prob = q.log_prob(samples)
        assert log_prob.shape == torch.Size(shape) + q.batch_shape and log_prob.isfinite().all()
        assert (log_prob <= 1e-9).all() or name not in FINITE


@pytest.mark.parametrize("name", [*FINITE, "gaussian", "dirichlet"])
@few_examples
@given(rows=ROWS, extra=st.integers(0, 2))
def test_divergences_are_never_negative_and_none_from_itself(name, rows, extra):
    case = case_of(name, rows, extra)
    for p in (case.distribution, case_of(name, rows, extra).distribution):
        close(kl_divergence(case.distribution, p), torch.zeros(len(rows), dtype=torch.float64), 1e-9)
    divergence = kl_divergence(case.distribution, case.other)
    assert divergence.shape == (len(rows),) and (divergence >= -1e-9).all() and divergence.isfinite().all()


@pytest.mark.parametrize("name", FINITE)
@few_examples
@given(row=ROW)
def test_sums_over_all_values(name, row):
    case = case_of(name, [row])
    q, p = case.distribution, case.other
    values = trees_over(q) if not hasattr(q, "enumerate_support") or name.endswith("trees") else q.enumerate_support()
    log_q = q.log_prob(values).squeeze(1)
    close(log_q.exp().sum(), torch.ones((), dtype=torch.float64), 1e-9)
    assert len(values.flatten(1).unique(dim=0)) == len(values)
    close(q.entropy()[0], -(log_q.exp() * log_q).sum(), 1e-9)
    assert (q.entropy() >= -1e-9).all()
    close(kl_divergence(q, p)[0], (log_q.exp() * (log_q - p.log_prob(values).squeeze(1))).sum(), 1e-9)
    close(q.log_prob(q.mode)[0], log_q.max(), 1e-9)
    if name in STRUCTURED:
        close(q.log_partition[0], q.score(values).squeeze(1).logsumexp(0), 1e-9)
        close(q.max_score[0], q.score(values).max(), 1e-9)
        best = q.k_best(len(values) + 1)
        close(best.scores[:-1, 0], q.score(values).squeeze(1).sort(descending=True).values, 1e-9)
        assert best.scores[-1, 0] == -torch.inf
        if not name.startswith("chain"):
            close(q.marginals[0], (log_q.exp() @ values.flatten(1).double()).view(q.event_shape), 1e-9)
    if name.startswith("deletions"):
        assert q.support_size[0] == len(values)
        assert torch.equal(q.canonical(values), values)
        counts = torch.zeros(q.event_shape[0] + 1, dtype=torch.float64)
        close(q.count_log_probs[0].exp(), counts.index_add(0, values.sum(-1).squeeze(1), log_q.exp()), 1e-9)
    if name == "categories":
        assert q.support_size == len(values)
        assert torch.equal(q.top_k(len(values)).flatten(1).unique(dim=0), values.flatten(1).unique(dim=0))
        close(q.log_prob(q.top_k(3)).squeeze(1), log_q.sort(descending=True).values[:3], 1e-9)
        excluded = q.top_k(2)
        rest = q.sample_excluding(excluded, (20,))
        assert not (rest.unsqueeze(1) == excluded).all(-1).any()


def trees_over(q) -> torch.Tensor:
    """All binary trees over n words, with all labellings: (number of trees, 1, n, n) or (..., n, n, L)."""
    length, labels = q.event_shape[0], q.num_labels

    def over(start: int, end: int) -> list[list]:
        if start == end:
            return [[(start, end)]]
        return [
            [(start, end), *left, *right]
            for last in range(start, end)
            for left in over(start, last)
            for right in over(last + 1, end)
        ]

    masks = []
    for spans in over(0, length - 1):
        for number in range((labels or 1) ** len(spans)):
            mask = torch.zeros(1, *q.event_shape, dtype=torch.bool)
            for place, (start, end) in enumerate(spans):
                mask[(0, start, end, *([] if labels is None else [number // labels**place % labels]))] = True
            masks.append(mask)
    return torch.stack(masks)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"uniform sphere", "mixture", "flow"}))
@few_examples
@given(row=ROW, count=st.integers(1, 3))
def test_expanded_and_detached_are_the_same_distribution(name, row, count):
    case = case_of(name, [row])
    q = case.distribution
    wide, detached = q.expand((count,)), q.detached()
    assert type(wide) is type(detached) is type(q) and wide.batch_shape == (count,) and wide.event_shape == q.event_shape
    close(wide.log_prob(case.value), q.log_prob(case.value).expand(count), 1e-9)
    assert wide.sample((2,)).shape == (2, count, *q.event_shape)
    assert wide.log_prob(case.value).requires_grad and not detached.log_prob(case.value).requires_grad


@examples
@given(row=ROW)
def test_deletions_of_log_odds_keep_words_on_their_own(row):
    """Given that one is kept, as there is no empty compression."""
    odds = torch.randn(1, row[1], generator=generator(row), dtype=torch.float64)
    q = CanonicalDeletion.from_unary(odds, allow_empty=True)
    close(q.marginals, odds.sigmoid(), 1e-9)
    close(q.log_partition[0], odds.exp().log1p().sum(), 1e-9)
    some = CanonicalDeletion.from_unary(odds)
    close(some.marginals, odds.sigmoid() / (1 - (-odds.exp().log1p().sum()).exp()), 1e-9)


@examples
@given(
    symbols=st.integers(1, 3), limits=st.tuples(st.integers(0, 3), st.integers(1, 3)).map(sorted), rate=st.floats(-2, 2),
    special=st.integers(0, 2),
)  # fmt: skip
def test_uniform_symbols_sum_to_one_over_all_sequences(symbols, limits, rate, special):
    least, most = limits
    if most == 0:
        most = 1
    end = symbols + special
    p = UniformSymbols(symbols, end, most, min_length=least, length_rate=rate, pad_token_id=end + 1, dtype=torch.float64)
    total = 0.0
    for length in range(least, most + 1):
        own = torch.cartesian_prod(*[torch.arange(symbols)] * length).view(-1, length) if length else torch.zeros(1, 0).long()
        values = torch.cat([own, torch.full((len(own), 1), end)], dim=1)
        padded = torch.nn.functional.pad(values, (0, most + 1 - values.shape[1]), value=end + 1)
        close(p.log_prob(padded), p.log_prob(values), 1e-9)
        close(p.symbol_log_probs(padded).sum(-1), p.log_prob(padded), 1e-9)
        total += p.log_prob(values).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-9)
    steps = p.step_log_probs()
    reachable = steps.exp().sum(-1)
    assert steps.shape[0] == most and ((reachable - 1).abs() < 1e-9).all()
    samples = p.sample((4, 2))
    assert samples.shape == (4, 2, most + 1) and p.support.check(samples).all() and p.log_prob(samples).isfinite().all()
    lengths = (samples == end).long().argmax(-1)
    assert ((lengths >= least) & (lengths <= most)).all()
    assert (p.log_prob(torch.zeros(most + 1, dtype=torch.long)) == -torch.inf) == (end != 0)


@examples
@given(seed=st.integers(0, 10**6), steps=st.integers(2, 5), path=st.sampled_from(hf_lvm.distributions.INTERPOLATION_PATHS))
def test_paths_begin_and_end_at_their_ends_and_are_the_same_backwards(seed, steps, path):
    start, end = torch.randn(2, 3, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points = interpolate_latents(start, end, steps, path)
    assert points.shape == (steps, 3, SIZE)
    close(points[0], start, 1e-9)
    close(points[-1], end, 1e-9)
    close(interpolate_latents(end, start, steps, path).flip(0), points, 1e-9)
    close(interpolate_latents(start[:1], end[:1], steps, path)[:, 0], points[:, 0], 1e-9)
    if path == "spherical":
        share = torch.linspace(0, 1, steps, dtype=torch.float64).unsqueeze(1)
        close(points.norm(dim=-1), start.norm(dim=-1) * (1 - share) + end.norm(dim=-1) * share, 1e-9)


def test_a_flow_says_that_its_moments_have_no_closed_form():
    q = case_of("flow", [(0, 1)]).distribution
    for moment in ("mean", "variance"):
        with pytest.raises(NotImplementedError, match="no closed form"):
            getattr(q, moment)


@examples
@given(concentration=st.floats(0, 1e4))
def test_a_direction_diverges_from_the_uniform_by_what_its_entropy_lacks(concentration):
    q = hf_lvm.distributions.VonMisesFisher(torch.ones(1, SIZE).double(), torch.tensor([concentration]).double())
    p = hf_lvm.distributions.HypersphericalUniform(1, SIZE, dtype=torch.float64)
    close(kl_divergence(q, p), p.entropy() - q.entropy(), 1e-9)
    assert 0 <= q.mean_cosine.item() <= 1 and kl_divergence(q, p).item() >= -1e-9
    assert p.entropy().item() == pytest.approx(math.log(4 * math.pi))
