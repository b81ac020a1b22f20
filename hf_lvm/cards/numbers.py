"""The numbers of a `results.json`: found by their path, each with its name and unit; a missing one is an error."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Section = Literal["results", "latent", "controls"]


@dataclass(frozen=True)
class Measure:
    """One number of one run.

    Attributes:
        key: its path, the same in all runs of a kind; the metric's type in the model index.
        name: what it is, for people.
        unit: such as `nats per sentence`; empty where the name says it.
        value: the number.
        digits: behind the point.
        split: of the texts it was measured on.
        section: `results`; `latent`, what the latent carries; or `controls`, what needs no model.
        of: for a count, how many there could be.
        error: standard error over texts, in the same unit.
    """

    key: str
    name: str
    unit: str
    value: float
    digits: int = 2
    split: str = "test"
    section: Section = "results"
    of: int | None = None
    error: float | None = None


class SplitNumbers:
    """What `results.json` says of one split.

    Args:
        results: the whole of it.
        split: `test`, `validation` or `train`.
    """

    def __init__(self, results: dict[str, Any], split: str):
        self._all, self.split = results[split], split

    def find(self, path: str) -> Any:
        """What stands at `a.b.c`, or None."""
        found = self._all
        for key in path.split("."):
            if not isinstance(found, dict) or key not in found:
                return None
            found = found[key]
        return found

    def need(self, path: str) -> Any:
        """What stands at `a.b.c`.

        Raises:
            ValueError: nothing does.
        """
        found = self.find(path)
        if found is None:
            raise ValueError(
                f"these results have no {self.split}.{path}, which results of this model have: they were written by another "
                "version of hf-lvm. Train again with this one, or make the card with the version that wrote them"
            )
        return found

    def measure(
        self,
        path: str,
        name: str,
        unit: str = "",
        digits: int = 2,
        section: Section = "results",
        *,
        scale: float = 1.0,
        of: str | None = None,
        optional: bool = False,
    ) -> list[Measure]:
        """The number at a path as a list of one, or an empty list where it is missing and `optional`.

        Args:
            scale: what it is multiplied with, such as 100 for a share that is shown in percent.
            of: the path of how many there could be.
        """
        value = self.find(path) if optional else self.need(path)
        if value is None:
            return []
        error = self.find(f"{path}_standard_error")
        return [
            Measure(
                key=path,
                name=name,
                unit=unit,
                value=scale * value,
                digits=digits,
                split=self.split,
                section=section,
                of=None if of is None else self.need(of),
                error=None if error is None else scale * error,
            )
        ]

    def likelihood(self, path: str, name: str, *, optional: bool = False) -> list[Measure]:
        """Nats per sentence with what is derived from it, each perplexity with what it counts."""
        if optional and self.find(path) is None:
            return []
        end = "counted" if self.need(f"{path}.count_eos") else "not counted"
        measures = [
            *self.measure(f"{path}.nats_per_sentence", name, "nats per sentence"),
            *self.measure(f"{path}.word_perplexity", f"perplexity of {name}", f"per word, end of sentence {end}"),
        ]
        if self.find(f"{path}.tokens") != self.find(f"{path}.words"):
            measures += self.measure(f"{path}.token_perplexity", f"perplexity of {name}", f"per token, end of sentence {end}")
        return measures + self.measure(f"{path}.bits_per_byte", name, "bits per byte", 3, optional=True)


def shown(values: Sequence[Measure]) -> str:
    """One number with its standard error, or the mean of several seeds and each of them."""
    first = values[0]
    each = [f"{value.value:,.{first.digits}f}" for value in values]
    text = each[0]
    if len(values) > 1 and len(set(each)) == 1:
        text = f"{text} (each)"
    elif len(values) > 1:
        text = f"{statistics.mean(value.value for value in values):,.{first.digits}f} ({'; '.join(each)})"
    elif first.error is not None:
        text += f" ± {first.error:.{first.digits}f}"
    return text if first.of is None else f"{text} of {first.of:,}"


def by_key(runs: Iterable[Sequence[Measure]]) -> list[list[Measure]]:
    """The same number of several runs side by side, in the order of the first; those that a run lacks are left out."""
    tables = [{(measure.split, measure.key): measure for measure in run} for run in runs]
    return [[table[key] for table in tables] for key in tables[0] if all(key in table for table in tables)]
