"""Metrics over arrays and strings: plain functions, each with a thin `evaluate` module over it.

    metric = hf_lvm.metrics.load("reconstruction")
    metric.compute(predictions=["a cat sat"], references=["the cat sat"])

`<name>/<name>.py` is also a script that `evaluate.load("<path>/<name>.py")` takes, without network. No metric sees a
model: what needs one is measured elsewhere and hands over arrays.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import evaluate

__all__ = ["list_metrics", "load"]


def list_metrics() -> list[str]:
    """Names that [`load`] accepts, in alphabetical order."""
    folder = Path(__file__).parent
    return sorted(script.stem for script in folder.glob("*/*.py") if script.stem == script.parent.name)


def load(name: str, keep_in_memory: bool = True, **options) -> evaluate.Metric:
    """Build one of our metrics by name, with nothing downloaded or copied.

    Args:
        name: one of [`list_metrics`].
        keep_in_memory: hold what `add_batch` collects in memory. False writes it to the `evaluate` cache
            instead, which several processes need to score one corpus together.
        options: further arguments of `evaluate.Metric`, such as `num_process` and `process_id`.

    Raises:
        ValueError: no metric of that name; the message lists those there are.
    """
    names = list_metrics()
    if name not in names:
        raise ValueError(
            f"there is no metric named {name!r}; choose one of {', '.join(names)}. "
            "For a script of your own use evaluate.load with its path"
        )
    module = importlib.import_module(f"{__name__}.{name}.{name}")
    metric_class = getattr(module, "".join(part.capitalize() for part in name.split("_")))
    return metric_class(keep_in_memory=keep_in_memory, **options)
