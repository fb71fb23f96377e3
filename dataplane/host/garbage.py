"""Collections of cyclic garbage that stop the node for milliseconds, however much it holds.

Python frees by counting; its collector only looks for cycles, and to do so walks every object, with all threads
stopped: a second for a million keys, longer than an election takes. Requests and connections make no cycles, so what
has survived one full collection is put where no collection looks again, and each walks only what has come since.
"""

import asyncio
import gc

_THRESHOLDS = (3_000, 3, 1 << 30)
"""Some 10,000 new objects before the oldest generation is due; and never on its own account."""
_EVERY_S = 0.1


def collect_in_steps(loop: asyncio.AbstractEventLoop) -> None:
    """Have this process collect so from now on, in turns of `loop`."""
    gc.set_threshold(*_THRESHOLDS)
    _step(loop)


def _step(loop: asyncio.AbstractEventLoop) -> None:
    if gc.get_count()[2] > 0:
        gc.collect()
        gc.freeze()
    loop.call_later(_EVERY_S, _step, loop)
