"""Processes of their own for tests: to be killed in, to fill a disk in, or to be one of two.

They are forked from a server that has imported torch, transformers and the trainer already: a new interpreter takes seconds
to do so. What must begin with nothing imported is started with `subprocess` instead.
"""

import gc
import multiprocessing
import os
import socket
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.training.child_runs", "tests.two_processes"])


def start(function, error_file: Path, *args, **environment: str) -> multiprocessing.Process:
    """Start `function(*args)` in a child; its exit code is 0, 1 with the error in `error_file`, or minus a signal."""
    child = SERVER.Process(target=_report, args=(function, str(error_file), environment, *args), daemon=True)
    child.start()
    return child


def run(function, error_file: Path, *args) -> int:
    """`start` and wait; the exit code."""
    child = start(function, error_file, *args)
    child.join(timeout=60)
    return child.exitcode


def errors_of_two(function, folder: Path, *args) -> list[str]:
    """Run `function(*args)` in two processes that find each other, as `torchrun --nproc_per_node 2` starts them.

    Returns:
        What each of them failed with, "" where it did not.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
              "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true"}  # fmt: skip
    files = [Path(folder, f"error-{rank}") for rank in range(2)]
    children = [
        start(function, file, *args, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank, file in enumerate(files)
    ]
    for child in children:
        child.join(timeout=300)
        child.kill()
    return [
        file.read_text() if file.exists() else "" if child.exitcode == 0 else f"It ended with {child.exitcode}."
        for child, file in zip(children, files, strict=True)
    ]


def run_two(function, folder: Path, *args) -> None:
    """Run `function(*args)` in two processes, as [`errors_of_two`] does; neither may fail."""
    assert errors_of_two(function, folder, *args) == ["", ""]


def _report(function, error_file, environment, *args):
    gc.freeze()  # as in conftest.py
    os.environ.update(environment)
    try:
        function(*args)
    except BaseException as error:
        Path(error_file).write_text(f"{type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)  # without waiting for a process group whose other members may be gone
