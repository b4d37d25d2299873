"""Runs ./train for the searches (tune.py, sweep.py): run names, concurrent runs, divergence, interruption, and the results
file."""
import ctypes
import fcntl
import json
import math
import re
import shlex
import signal
import subprocess
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from cli import UserError, write_file
from runs import RunError, read_run

STOPPED = 75  # exit status of ./train when a signal or --max-time stopped it
DIVERGED = re.compile(r"step \d+ is bad")  # ./train's message for a non-finite or too large loss or gradient
PROGRAM_BYTES = 64 << 20  # memory of a process besides its plan: code, libraries, thread stacks
PR_SET_PDEATHSIG = 1


class SearchError(UserError):
    """A one-line error that ends the search."""


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal."""


def run_name(choices):
    """A readable, unique directory name for {option: value}."""
    exact = "_".join(f"{option}-{value}" for option, value in choices.items())
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", exact)
    return name if name == exact and len(name) <= 120 else f"{name[:110]}-{zlib.crc32(exact.encode()):08x}"


@dataclass
class Job:
    """One run. `options` are those of ./train without --out."""

    name: str
    options: list
    directory: Path
    memory: int = 0  # planned bytes
    on_resume: list = field(default_factory=list)  # options to repeat when it resumes


@dataclass
class Outcome:
    state: str  # finished, diverged or failed
    val_loss: float = None  # of a finished run
    message: str = ""  # why it failed
    seconds: float = 0


def outcome_of_run(directory):
    """The outcome of a run that ended without an error."""
    try:
        run = read_run(directory)
    except RunError as error:
        return Outcome("failed", message=str(error))
    if not run.finished:
        return Outcome("failed", message=f"it ended at step {run.last_step} of {run.planned_steps}; "
                                         "run the same command again to resume")
    if not run.val.loss:
        return Outcome("failed", message="no validation loss; give --val-data in the configuration or after --")
    loss = run.val.loss[-1]
    return Outcome("finished", loss) if math.isfinite(loss) else Outcome("diverged")


def ended_by_time(directory):
    try:
        return read_run(directory).end_reason == "time"
    except RunError:
        return False


def die_with_parent():
    """If the search is killed, its runs get SIGTERM: they write a checkpoint and stop (Linux only)."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        pass


class Process:
    """A ./train process of a job: a new run, or a resumed one if its directory holds a run."""

    def __init__(self, program, job):
        self.job = job
        self.began = time.monotonic()
        if (job.directory / "config.conf").exists():
            command = ["--resume", str(job.directory), "--quiet", *job.on_resume]
        else:
            command = [*job.options, "--out", str(job.directory), "--overwrite", "--quiet"]
        self.command = [program, *command]
        self.stderr = tempfile.TemporaryFile("w+", errors="replace")
        try:
            # In its own session: Ctrl-C reaches only the search, which then stops each run once.
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=self.stderr, start_new_session=True, preexec_fn=die_with_parent)
        except OSError as error:
            raise SearchError(f"cannot run {program}: {error.strerror}; build it with make") from None

    def poll(self):
        """The outcome, or None while it runs; raises Interrupted if a signal stopped it."""
        status = self.process.poll()
        if status is None:
            return None
        if status == STOPPED and not ended_by_time(self.job.directory):
            raise Interrupted
        outcome = outcome_of_run(self.job.directory) if status in (0, STOPPED) else self.failure(status)
        outcome.seconds = time.monotonic() - self.began
        return outcome

    def failure(self, status):
        self.stderr.seek(0)
        message = (self.stderr.read().strip().splitlines() or [""])[-1]
        if status == 1 and DIVERGED.search(message):
            return Outcome("diverged")
        reason = message.replace("error: ", "", 1)
        if status < 0:
            reason = f"killed by signal {-status}; run the same command again to resume"
        return Outcome("failed", message=f"{reason or f'status {status}'} (the command was: {shlex.join(self.command)})")


class StopSignals:
    """Within this context, Ctrl-C and SIGTERM increment `received` instead of ending the program; a second one kills the
    runs."""

    def __init__(self):
        self.received = 0

    def __enter__(self):
        def handler(number, _):
            self.received += 1
        self.before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def run_jobs(program, jobs, on_end, at_once=1, memory=math.inf):
    """Runs the jobs, up to `at_once` concurrently while their memory fits into `memory` bytes (one may always run), and
    calls on_end(job, outcome) as each ends. On interruption, or if on_end raises, every run writes a checkpoint and stops
    before the exception propagates."""
    waiting, running = list(jobs), []
    with StopSignals() as signals:
        try:
            while waiting or running:
                if signals.received:
                    raise Interrupted
                while waiting and len(running) < at_once:
                    used = sum(p.job.memory for p in running)
                    fitting = next((job for job in waiting if not running or used + job.memory <= memory), None)
                    if fitting is None:
                        break
                    waiting.remove(fitting)
                    outcome = finished_before(fitting)
                    if outcome:
                        on_end(fitting, outcome)
                    else:
                        running.append(Process(program, fitting))
                for process in list(running):
                    outcome = process.poll()
                    if outcome:
                        running.remove(process)
                        on_end(process.job, outcome)
                time.sleep(0.02)
        finally:
            stop_all(running, signals)


def finished_before(job):
    """The outcome of a run that ended just before the search was killed, so that it was not recorded."""
    if not (job.directory / "metrics.jsonl").exists():
        return None
    outcome = outcome_of_run(job.directory)
    return outcome if outcome.state != "failed" else None


def stop_all(running, signals):
    for process in running:
        process.process.terminate()
    before = signals.received
    for process in running:
        while process.process.poll() is None:
            if signals.received > before:
                process.process.kill()
            time.sleep(0.02)


class Results:
    """The file with the settings and results of a search, and the lock on its directory. Its runs are in the directory
    `runs`."""

    def __init__(self, directory, file_name, runs, settings):
        self.file = directory / file_name
        self.settings = settings
        self.content = {"settings": settings, "results": {}}
        directory.mkdir(parents=True, exist_ok=True)
        self.lock = open(directory / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SearchError(f"{directory}: another search is running there") from None
        has_runs = any(runs.glob("*/config.conf"))
        if self.file.exists():
            self.load(directory, has_runs)
        elif has_runs:
            raise SearchError(f"{directory} holds runs but no {file_name} that describes them; use another --out")
        self.save()

    def load(self, directory, has_runs):
        try:
            saved = json.loads(self.file.read_text(encoding="utf-8"))
            settings, results = saved["settings"], saved["results"]
            if not isinstance(results, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SearchError(f"{self.file}: not written by this script; use another --out") from None
        if settings == self.settings:
            self.content["results"] = results
        elif results or has_runs:
            raise SearchError(f"{directory} holds a search with other settings; use another --out, or remove it")

    @property
    def runs(self):
        """{run name: recorded result}"""
        return self.content["results"]

    def save(self, **more):
        write_file(self.file, json.dumps({**self.content, **more}, indent=1) + "\n")


@dataclass
class Plan:
    """What ./train plans for some options."""

    memory: int  # bytes needed
    available: float  # bytes, or infinity if unknown
    validates: bool  # it has validation data
    rates: dict  # {"lr": text, "embed-lr": text, ...} of the groups that the model has


def plan_of(program, options):
    """(Plan, "") for these options, or (None, the one-line error of ./train)."""
    try:
        done = subprocess.run([program, *options, "--dry-run", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False)
    except OSError as error:
        raise SearchError(f"cannot run {program}: {error.strerror}; build it with make") from None
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1].replace("error: ", "", 1)
    try:
        plan = json.loads(done.stdout)
        rates = {"" if g["group"] == "hidden" else f"{g['group']}-": g["options"]["lr"] for g in plan["groups"]}
        return Plan(plan["memory"]["total"] + PROGRAM_BYTES, plan["memory"]["available"] or math.inf,
                    plan["data"]["val_tokens"] > 0, {f"{prefix}lr": rate for prefix, rate in rates.items()}), ""
    except (ValueError, KeyError, TypeError):
        raise SearchError(f"{program} --dry-run --json printed no plan; is it this project's ./train?") from None


def fixed_rates_note(optimizer, plans):
    """A note if, of all learning rates, the plans differ only in that of the hidden matrices; else None."""
    varied = {name for name in plans[0].rates if len({plan.rates.get(name) for plan in plans}) > 1}
    if varied != {"lr"} or len(plans[0].rates) == 1:
        return None
    fixed = ", ".join(f"{name} {rate}" for name, rate in plans[0].rates.items() if name != "lr")
    return f"{optimizer}: lr is the rate of the hidden matrices only; every run has {fixed}"
