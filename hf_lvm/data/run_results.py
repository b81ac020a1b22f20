"""`results.json` of a finished run, as cards and reports read it."""

import json
from pathlib import Path
from typing import Any

RESULTS_NAME = "results.json"


def read_results(folder: Path) -> dict[str, Any]:
    """What `results.json` of a run holds.

    Raises:
        FileNotFoundError: no such folder, or no results in it.
        ValueError: not an object of JSON.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}: give the output_dir of a run")
    path = folder / RESULTS_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {RESULTS_NAME}, which a run writes at its end: give the output_dir of a finished run"
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): train again, or restore the file that the run wrote") from error
    if not isinstance(results, dict):
        raise ValueError(f"{path} holds no JSON object but a {type(results).__name__}: restore the file that the run wrote")
    return results
