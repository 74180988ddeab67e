"""Peak memory and speed of `sctd prepare` as the text grows.

    python bench/prepare_memory.py --sizes 10 100 1000 --out memory.md

Text is made up: words with Zipf's frequencies, documents of 2 kB on average, the same for the same size. It is written
piece by piece below --scratch and deleted afterwards. Each size is prepared by a process of its own, with a tokenizer
trained on the first 10 MB; its peak memory and the time that cores worked for it are what the operating system says
(Linux: ru_maxrss in KiB). Where other work shares the machine, the rate a core is what stays comparable.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

WORDS = 50_000
WORDS_A_DOCUMENT = 430
PIECE_BYTES = 100 * 10**6
SEED = 1


def vocabulary():
    """WORDS words of one to four syllables, the frequent ones short."""
    syllables = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
    made = ("".join(parts) for length in (1, 2, 3, 4) for parts in product(syllables, repeat=length))
    return [next(made) for _ in range(WORDS)]


def write_text(folder, size):
    """About `size` bytes of documents, one a line, in files of PIECE_BYTES at most; returns (bytes, documents)."""
    folder.mkdir(parents=True)
    words = np.array(vocabulary(), dtype=object)
    share = np.cumsum(1 / np.arange(1, WORDS + 1))
    share /= share[-1]
    written = documents = 0
    for piece in range(-(-size // PIECE_BYTES)):
        random = np.random.default_rng([SEED, piece])
        with (folder / f"{piece:05d}.txt").open("w", encoding="ascii") as file:
            left = min(PIECE_BYTES, size - piece * PIECE_BYTES)
            while left > 0:
                length = 1 + int(random.exponential(WORDS_A_DOCUMENT))
                line = " ".join(words[np.searchsorted(share, random.random(length))]) + "\n"
                file.write(line)
                left, written, documents = left - len(line), written + len(line), documents + 1
    return written, documents


def prepare(text, out, tokenizer, workers):
    """Run the verb in a process of its own; returns (seconds, seconds of its cores, bytes of its peak memory)."""
    words = [sys.executable, "-m", "sctd", "prepare", "--input", text, "--out", out, "--documents", "line"]
    words += ["--workers", workers, *(["--tokenizer", tokenizer] if tokenizer else [])]
    begin = time.monotonic()
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"sctd prepare failed on {text}: run it by hand")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="megabytes of text")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, help="the table, as Markdown")
    given = parser.parse_args()
    lines = ["| text | documents | peak memory | seconds | MB/s | MB/s of a core |", "|---:|---:|---:|---:|---:|---:|"]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="sctd-memory-", dir=given.scratch) as scratch:
        place = Path(scratch)
        write_text(place / "sample", 10 * 10**6)
        prepare(place / "sample", place / "trained", None, given.workers)
        for size in given.sizes:
            written, documents = write_text(place / "text", size * 10**6)
            seconds, busy, peak = prepare(place / "text", place / "data", place / "trained/tokenizer", given.workers)
            lines.append(
                f"| {written / 1e6:,.0f} MB | {documents:,} | {peak / 1e6:,.0f} MB | {seconds:,.0f} | "
                f"{written / 1e6 / seconds:.1f} | {written / 1e6 / busy:.1f} |"
            )
            print(lines[-1], flush=True)
            shutil.rmtree(place / "text")
            shutil.rmtree(place / "data")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
