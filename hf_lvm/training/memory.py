"""Memory of a run on the CPU: what is freed in one step is needed again in the next."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next allocation instead of handing it back to the kernel.

    The logits of a batch are tens of megabytes. By default every step asks the kernel for such blocks anew and waits until
    they are filled with zeros, which can take a third of the step. The price is that the process never becomes smaller.
    Elsewhere than under glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
