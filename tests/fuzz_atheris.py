"""The same inputs, chosen by what they reach: `python tests/fuzz_atheris.py manifest.json -runs=100000`.

atheris (pip install atheris) has libFuzzer draw the damage of tests/fuzz_formats.py in the place of a random generator,
and keep the draws that reach lines of sctd which none before did. It ends at the first finding.
"""

import random
import signal
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sctd"]):
    import fuzz
    from fuzz_formats import FORMATS, make_base
    from sctd.errors import UserError


class Drawn(random.Random):
    """A random generator whose bits are libFuzzer's; zeros where it has no more."""

    def __new__(cls, data):
        return super().__new__(cls)

    def __init__(self, data):
        self.data = atheris.FuzzedDataProvider(data)

    def getrandbits(self, k):
        return self.data.ConsumeUInt((k + 7) // 8) & ((1 << k) - 1)

    def random(self):
        return self.getrandbits(32) / 2**32


def main():
    name, *flags = sys.argv[1:]
    place = Path(tempfile.mkdtemp(prefix="sctd-fuzz-"))
    make_base(place / "base")
    signal.signal(signal.SIGPROF, fuzz._hang)
    inputs = fuzz.Inputs(FORMATS[name], place / "base", place / "inputs", seed=1)

    def one(data):
        inputs.restore()
        error = inputs.read(Drawn(data))
        if error is not None and not isinstance(error, UserError):
            raise error

    atheris.Setup([sys.argv[0], *flags], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
