"""Search a bundle's `model.c` for an input that it reads or writes out of bounds for.

python tests/clients/fuzz_c.py BUNDLE --inputs 10000000: with gcc's and clang's AddressSanitizer and
UndefinedBehaviorSanitizer, with vectors and without, so many inputs each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pe_deploy import open_bundle  # noqa: E402
from tests.clients.c_programs import SANITIZED, Source, fuzzed  # noqa: E402

DAY = 86400.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(options.jobs) as pool:

        def search(how: tuple[str, bool]) -> str:
            compiler, vectors = how
            name = f"{compiler} {'with' if vectors else 'without'} vectors"
            source = Source.of(bundle, Path(place) / name)
            # -O2 answers two to five times as many as -O1, by which tests compile sooner.
            flags = [*SANITIZED, "-O2", *([] if vectors else [source.without_vectors()])]
            program = source.compiled(compiler, flags, "fuzz.c")
            return f"{name}: {fuzzed(program, options.seed, options.inputs, DAY)}"

        for told in pool.map(search, product(["gcc", "clang"], [True, False])):
            sys.stdout.write(told)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
