"""Owns a fuzzing run over several targets: one process after the other, what it measured, and what it found."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.targets import CORPUS, Target

# A decoder's limit is 1 GiB for a study; the fuzzer's own corpus and tables come on top.
RSS_LIMIT_MIB = 1536
# Wall time, against hangs; `execute` watches processor time.
HANG_S = 30
# Of a target; after so many it is left, because they are likely to be one.
MAX_FINDINGS = 5
_STATUS = re.compile(r"#(\d+)\s+\S+.*?cov: (\d+) ft: (\d+) corp: (\d+)/\S+.*? rss: (\d+)Mb")
_FINAL = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a target is fuzzed: `runs` inputs or `seconds`, whichever is not 0."""

    runs: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What fuzzing a target showed.

    Attributes:
        target: Its name.
        runs: Inputs that it read.
        seconds: How long it took.
        coverage: Branches of this project's code that were reached.
        features: Those, by how often.
        corpus: Inputs that reached one first, the seeds included.
        findings: Files with inputs that broke a promise.
        memory_mib: Highest memory so far, by the runs at that time.
    """

    target: str
    runs: int = 0
    seconds: float = 0.0
    coverage: int = 0
    features: int = 0
    corpus: int = 0
    findings: list[str] = field(default_factory=list)
    memory_mib: list[tuple[int, int]] = field(default_factory=list)

    @property
    def peak_mib(self) -> int:
        """Highest memory of the process."""
        return max((memory for _, memory in self.memory_mib), default=0)

    @property
    def growth_mib(self) -> int:
        """How much higher it was at the end than after half of the runs."""
        halfway = [memory for runs, memory in self.memory_mib if runs <= self.runs / 2]
        return self.peak_mib - max(halfway, default=self.peak_mib)

    def note(self, line: str, *, runs_before: int) -> None:
        """Take figures from a line of libFuzzer's, whose process began after so many runs."""
        if status := _STATUS.match(line):
            runs, self.coverage, self.features, self.corpus, memory_mib = map(int, status.groups())
            self.runs = runs_before + runs
            self.memory_mib.append((self.runs, memory_mib))
        if final := _FINAL.match(line):
            self.runs = runs_before + int(final[1])


class Campaign:
    """Fuzzes targets, and keeps their inputs in a folder: `TARGET/corpus`, `TARGET/findings` and `TARGET/log`.

    Args:
        folder: Where.
        seed: Of the fuzzer's chance.
    """

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self.interrupted = False

    def fuzz(self, target: Target, budget: Budget, *, on_progress: Callable[[Outcome], None]) -> Outcome:
        """Fuzz one target; after a finding it goes on, until its budget is spent or it has too many."""
        outcome = Outcome(target.name)
        begin_s = time.monotonic()
        while not self.interrupted:
            found = self._fuzz_once(target, _left(budget, outcome), outcome, on_progress=on_progress)
            outcome.seconds = time.monotonic() - begin_s
            left = _left(budget, outcome)
            if not found or len(outcome.findings) >= MAX_FINDINGS or max(left.runs, left.seconds) <= 0:
                break
        return outcome

    def _fuzz_once(
        self, target: Target, budget: Budget, outcome: Outcome, *, on_progress: Callable[[Outcome], None]
    ) -> bool:
        """Run the fuzzer until it ends; True when it ended with a finding."""
        folder = self._folder / target.name
        findings = folder / "findings"
        for made in (folder / "corpus", findings):
            made.mkdir(parents=True, exist_ok=True)
        known = set(findings.iterdir())
        options = (
            f"-runs={budget.runs}" if budget.runs else f"-max_total_time={max(1, round(budget.seconds))}",
            f"-seed={self._seed + len(outcome.findings)}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={RSS_LIMIT_MIB}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
            # The first folder takes what is new.
            str(folder / "corpus"),
            str(CORPUS / target.name),
        )
        words = [sys.executable, "-m", "fuzzing.fuzzer", target.name, *options]
        runs_before = outcome.runs
        with (
            (folder / "log").open("a") as log,
            subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            ) as fuzzer,
        ):
            for line in self._lines(fuzzer):
                log.write(line)
                outcome.note(line, runs_before=runs_before)
                on_progress(outcome)
        new = sorted(str(path) for path in set(findings.iterdir()) - known)
        if fuzzer.returncode and not new and not self.interrupted:
            new = [f"{folder / 'log'}: ended with {fuzzer.returncode}"]
        outcome.findings += new
        return bool(new)

    def _lines(self, fuzzer: subprocess.Popen[str]) -> Iterator[str]:
        """Yield what the fuzzer says; an interrupt ends it, and what it says last is still heard."""
        while True:
            try:
                yield from fuzzer.stdout or ()
                fuzzer.wait()
            except KeyboardInterrupt:
                self.interrupted = True
                fuzzer.send_signal(signal.SIGINT)
            else:
                return


def _left(budget: Budget, outcome: Outcome) -> Budget:
    if budget.runs:
        return Budget(max(0, budget.runs - outcome.runs), 0.0)
    return Budget(0, max(0.0, budget.seconds - outcome.seconds))
