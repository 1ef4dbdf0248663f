"""The collector of cyclic garbage in processes that live long."""

from __future__ import annotations

import gc


def settle_memory(after: int) -> None:
    """Let it leave alone what was loaded at the start, and look only after so many new objects: a request or a batch makes tens of
    thousands that all go with it, and looking through everything for them costs a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(after, 20, 20)
