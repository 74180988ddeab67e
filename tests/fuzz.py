"""Damaged files, read as the verbs read them: `python tests/fuzz.py --inputs 175000 --seed 1 --out table.md`.

Each input is a whole small file that is damaged with knowledge of its format (tests/fuzz_damage.py) and read by the
call by which a verb reads it (tests/fuzz_formats.py), in a process that may use so much memory and disk and no more. A
good answer is a result or one sentence (UserError). Anything else, a process that dies or takes too long, and a file
that was there and is another one afterwards, is a finding. The exit code is 1 if there is one.

Input N of a format is a function of the seed: `--formats manifest.json --only N` shows its traceback.
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

SECONDS = 30  # of processor time for one input; ten times as long by the clock
MEMORY = 2 * 2**30  # bytes of address space beyond those of a process that has read a whole file
DISK = 512 * 2**20  # bytes of a file that is written


class Hang(BaseException):
    """An input took too long."""


def _hang(number, frame):
    raise Hang(f"more than {SECONDS} s")


class Inputs:
    """The inputs of one format, in a folder.

    Args:
        made: a Format.
        base: what `make_base` wrote.
        folder: where to put them.
        seed: of all.
    """

    def __init__(self, made, base, folder, seed):
        self.made, self.folder, self.seed = made, folder, seed
        folder.mkdir(parents=True)
        made.make(base, folder)
        self.whole = {path.relative_to(folder).as_posix(): path.read_bytes() for path in self._files()}
        self.stats = self._stats()
        made.read(folder)  # a whole one is read well
        self.restore()

    def _files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _stats(self):
        found = {}
        for path in self._files():
            status = path.stat()
            name = path.relative_to(self.folder).as_posix()
            found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    def restore(self):
        """All files as they were made."""
        now = self._stats()
        for name in now.keys() - self.whole.keys():
            (self.folder / name).unlink()
        for name, content in self.whole.items():
            if now.get(name) != self.stats[name]:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).unlink(missing_ok=True)  # what has mapped it keeps it
                (self.folder / name).write_bytes(content)
        self.stats = self._stats()

    def read(self, chance):
        """Damage, read; null, the UserError, or what should not have happened."""
        from fuzz_damage import folders_differ
        from sctd.errors import UserError

        self.made.change(chance, self.folder)
        before = self._stats()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        error = None
        try:
            self.made.read(self.folder)
        except UserError as refused:
            error = refused if str(refused).strip() else RuntimeError("an empty sentence")
        except BaseException as other:
            error = other
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
        differ = folders_differ(before, self._stats(), self.made.may_write)
        return RuntimeError(f"written: {', '.join(differ)}") if differ else error

    def one(self, number):
        """Input `number`, from whole files on."""
        self.restore()
        return self.read(random.Random(f"{self.seed} {self.made.name} {number}"))


def place_of(error):
    """The kind of an error and the last line of sctd, or of what it calls, that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/sctd/" in frame.filename] or frames[-1:]
    at = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{at}"


def _memory():
    """(bytes of address space, resident, most resident)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmSize", "VmRSS", "VmHWM"))


def child(given):
    """Read inputs first .. last of one format; what came of it so far stands in a file after each."""
    from fuzz_formats import FORMATS
    from sctd.errors import UserError

    signal.signal(signal.SIGPROF, _hang)
    report = Path(given.report)
    log = report.with_suffix(".stacks").open("w")
    faulthandler.enable(log)
    inputs = Inputs(FORMATS[given.formats[0]], given.base, report.with_suffix(".inputs"), given.seed)
    size, resident, _ = _memory()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))
    Path("/proc/self/clear_refs").write_text("5")
    counts = {"well": 0, "refused": 0, "slowest": 0.0, "memory": 0, "findings": []}
    with report.open("w") as out:
        for number in range(given.first, given.last + 1):
            out.seek(0)
            out.write(json.dumps({"now": number, **counts}) + "\n")
            out.truncate()
            out.flush()
            start = time.process_time()
            error = inputs.one(number)
            counts["slowest"] = max(counts["slowest"], time.process_time() - start)
            counts["memory"] = max(0, _memory()[2] - resident)
            if error is None:
                counts["well"] += 1
            elif isinstance(error, UserError):
                counts["refused"] += 1
            else:
                said = " ".join(str(error).split())[:200].encode("ascii", "backslashreplace").decode()
                counts["findings"].append([number, place_of(error), said])
                if given.only is not None:
                    traceback.print_exception(error)
            if error is not None and given.only is not None:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
        out.seek(0)
        out.write(json.dumps({"now": None, **counts}) + "\n")
        out.truncate()


def run_format(name, count, seed, base, scratch, first=1):
    """Counts of a format; its process is begun again after an input that ended it."""
    total = {"inputs": 0, "well": 0, "refused": 0, "slowest": 0.0, "memory": 0, "findings": []}
    last = first + count - 1
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.monotonic()
    while first <= last:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        report = folder / "report.json"
        words = [sys.executable, __file__, "--formats", name, "--seed", str(seed), "--base", str(base)]
        words += ["--report", str(report), "--first", str(first), "--last", str(last)]
        with (folder / "said").open("w") as said:
            status = subprocess.run(words, env=environment, stdout=said, stderr=said, check=False).returncode
        if not report.exists():
            sys.exit((folder / "said").read_text()[-3000:])
        found = json.loads(report.read_text())
        if found["now"] is not None:
            stacks = report.with_suffix(".stacks").read_text().splitlines()
            ours = next((line.strip() for line in stacks if "/sctd/" in line), "")
            found["findings"].append([found["now"], f"process ended with {status} {ours[-80:]}", ""])
        for key in ("well", "refused"):
            total[key] += found[key]
        total["slowest"] = max(total["slowest"], found["slowest"])
        total["memory"] = max(total["memory"], found["memory"])
        total["findings"] += found["findings"]
        first = last + 1 if found["now"] is None else found["now"] + 1
        shutil.rmtree(folder)
    total["inputs"] = total["well"] + total["refused"] + len(total["findings"])
    return total | {"seconds": time.monotonic() - started}


def rows(found):
    """The table, as Markdown."""
    head = ("format", "inputs", "read well", "refused in a sentence", "findings", "slowest", "memory")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, each in found.items():
        counts = " | ".join(f"{each[key]:,}" for key in ("inputs", "well", "refused"))
        rest = f"{len(each['findings']):,} | {each['slowest']:.2f} s | {each['memory'] / 2**20:,.0f} MiB"
        lines.append(f"| {name} | {counts} | {rest} |")
    sums = (sum(each[key] for each in found.values()) for key in ("inputs", "well", "refused"))
    findings = sum(len(each["findings"]) for each in found.values())
    most = max(each["memory"] for each in found.values()) / 2**20
    slowest = max(each["slowest"] for each in found.values())
    sums = " | ".join(f"{number:,}" for number in sums)
    return "\n".join([*lines, f"| all | {sums} | {findings:,} | {slowest:.2f} s | {most:,.0f} MiB |"]) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, the same number of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", nargs="+")
    parser.add_argument("--only", type=int, help="this input alone, with what it raises")
    parser.add_argument("--out", type=Path, help="file for the table")
    parser.add_argument(
        "--base", type=Path, help="folder of whole files that an earlier call made, or where to make it"
    )
    for name in ("--report", "--first", "--last"):
        parser.add_argument(name, type=str if name == "--report" else int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.report is not None:
        return child(given)

    from fuzz_formats import FORMATS, make_base

    scratch = tempfile.mkdtemp(prefix="sctd-fuzz-")
    try:
        base = given.base or Path(scratch) / "base"
        if not base.exists():
            make_base(base)
        names = given.formats or list(FORMATS)
        if given.only is not None:
            given.report, given.first, given.last, given.base = f"{scratch}/report", given.only, given.only, base
            return child(given)
        found = {}
        for name in names:
            found[name] = run_format(name, -(-given.inputs // len(names)), given.seed, base, scratch)
            each = found[name]
            kinds = Counter(place for _, place, _ in each["findings"])
            shown = {place: next(f for f in each["findings"] if f[1] == place) for place in kinds}
            print(f"{name}: {each['inputs']:,} in {each['seconds']:.0f} s, {each['refused']:,} refused", flush=True)
            for place, number in kinds.most_common():
                print(f"  {number:5} {place}; input {shown[place][0]}: {shown[place][2]}", flush=True)
            if given.out is not None:
                given.out.write_text(rows(found), encoding="utf-8")
        return int(any(each["findings"] for each in found.values()))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main())
