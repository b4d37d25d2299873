#!/usr/bin/env python3
"""External faults during a run: a disk that is full or fails at any single write, clock jumps, replaced data, a second
process, too little memory. The run ends with a one-line error or continues, and no complete checkpoint is lost."""
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
import tiny_runs as tiny

sys.path[:0] = [os.path.join(tiny.ROOT, "scripts"), os.path.join(tiny.ROOT, "scripts/lib")]
from runs import RunError, read_run

LIBRARY = os.path.join(tiny.ROOT, os.environ.get("BUILD", "build"), "tests/fixtures/fault_write.so")
SANITIZED = "asan" in tiny.TRAIN
STEPS = 4
EXPORTABLE = ("--biases", "yes", "--positions", "learned")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def need_library():
    if SANITIZED:
        raise tiny.Skip("the sanitizer has to be the first library")
    if not os.path.exists(LIBRARY):
        raise tiny.Skip(f"{LIBRARY} is not built; make tests")


def faulty(**settings):
    """The environment of a process with the library, without the restart that would count anew."""
    return dict(tiny.ENVIRONMENT, LD_PRELOAD=LIBRARY, GOMP_SPINCOUNT="1000",
                **{f"FAULT_{key.upper()}": str(value) for key, value in settings.items()})


def check_log(run):
    """No reader stumbles over the log, and every line of it is whole."""
    try:
        assert read_run(run).torn_lines == 0
    except RunError as error:
        assert "has no metrics.jsonl" in str(error), error


def short_run(folder):
    """A run that has everything in few calls: evaluations, a sample, checkpoints of few tensors written and removed."""
    return [*tiny.make_data(folder)[:-1], "--n-layer", "1", "--biases", "no", "--positions", "none", "--optimizer", "muon", "--steps", str(STEPS), "--eval-every", "2",
            "--sample-every", "3", "--checkpoint-every", "2", "--keep", "1"]


def list_calls(folder, *arguments):
    """The names of the calls that can fail."""
    path = os.path.join(folder, "calls")
    result = tiny.train(*arguments, environment=faulty(at=0, list=path))
    assert result.returncode == 0, result.stderr
    with open(path) as file:
        return file.read().split()


def every_fault(calls, one):
    """one(where, name, environment) for a disk that is full from any call on, and for one that fails at one call only: any
    but those in the middle of a row of writes, which are alike."""
    cases = []
    for n, call in enumerate(calls):
        where = f"call {n + 1} of {len(calls)}, {call}"
        cases.append((f"{where}, full", f"full{n}", faulty(at=n + 1, kind="full")))
        if calls[n - 1:n + 2] != ["write"] * 3:
            cases.append((f"{where}, once", f"once{n}", faulty(at=n + 1, kind="once", error=ERRORS[n % len(ERRORS)])))

    def check(case):
        try:
            one(*case)
        except AssertionError as error:
            raise AssertionError(f"{case[0]}: {error}") from None

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, cases))
    return len(cases)


def go_on(run, begin, reference):
    """What a fault left is complete: the newest checkpoint is resumed, to the same bits as an undisturbed run."""
    newest = tiny.checkpoints(run)[-1:]
    if not os.path.exists(os.path.join(run, "config.conf")):
        assert not newest
        result = tiny.train(*begin, "--out", run)
    else:
        check_log(run)
        result = tiny.train("--resume", run)
        assert "was skipped" not in result.stdout, result.stdout
        for step in newest:
            assert step == STEPS or f"from the checkpoint of step {step}" in result.stdout, result.stdout
    assert result.returncode == 0, result.stderr
    tiny.check_same_end(run, reference, STEPS)


def test_disk_full_at_every_call(folder):
    need_library()
    begin, reference = short_run(folder), os.path.join(folder, "reference")
    calls = list_calls(folder, *begin, "--out", reference)
    statuses = []

    def one(_, name, environment):
        run = os.path.join(folder, name)
        result = tiny.train(*begin, "--out", run, environment=environment)
        statuses.append(result.returncode)
        if result.returncode == 0:  # a failure that is no harm
            assert result.stderr == "", result.stderr
            tiny.check_same_end(run, reference, STEPS)
        else:
            tiny.check_one_line(result)
        go_on(run, begin, reference)
        shutil.rmtree(run)

    n = every_fault(calls, one)
    assert len(calls) > 60 and statuses.count(1) > n / 2, f"{len(calls)} calls, {n} faults, {statuses.count(1)} refused"


def test_disk_full_at_every_call_of_a_resume(folder):
    """With something to mend: a torn line, records after the checkpoint, half a checkpoint."""
    need_library()
    begin, reference, killed = short_run(folder), os.path.join(folder, "reference"), os.path.join(folder, "killed")
    tiny.run(*begin, "--out", reference)
    tiny.run(*begin, "--out", killed, "--max-time", "1e-9")
    assert tiny.checkpoints(killed) == [1]
    with open(os.path.join(reference, "metrics.jsonl")) as file:
        lines = [line for line in file if json.loads(line)["step"] == 2]
    with open(os.path.join(killed, "metrics.jsonl"), "a") as file:
        file.write("".join(lines) + lines[0][:20])
    os.makedirs(os.path.join(killed, "checkpoints", ".tmp_step_00000002"))
    with open(os.path.join(killed, "checkpoints", ".tmp_step_00000002", "model.safetensors"), "w") as file:
        file.write("half")
    copy = os.path.join(folder, "copy")
    shutil.copytree(killed, copy)
    calls = list_calls(folder, "--resume", copy, "--max-time", "0")
    calls = calls[:calls.index("mkdir")]  # the first checkpoint: from here on all is as in any run

    def one(_, name, environment):
        run = os.path.join(folder, name)
        shutil.copytree(killed, run)
        result = tiny.train("--resume", run, "--max-time", "0", environment=environment)
        if result.returncode == 1:  # what the killed process left is mended before anything is added, or left as it was
            tiny.check_one_line(result)
            assert read_run(run).torn_lines <= 1
            assert tiny.train("--resume", run, "--max-time", "0").returncode == 0
        else:
            assert result.returncode == 0 and result.stderr == "", result.stderr
        check_log(run)
        tiny.check_same_end(run, reference, STEPS)
        shutil.rmtree(run)

    every_fault(calls, one)


def test_disk_full_at_every_call_of_tokenize_and_export(folder):
    """What is there is whole, and the command works when it is called again."""
    need_library()
    begin, run = [*short_run(folder), *EXPORTABLE], os.path.join(folder, "run")
    tiny.run(*begin, "--out", run)
    text = os.path.join(folder, "text.txt")
    with open(text, "w") as file:
        file.write("a line of text\n" * 200)
    for what, command in (("tokenize", ["tokenize", "--vocab", "bytes", "--shard-tokens", "1000", text]), ("export", ["export", run])):
        reference = os.path.join(folder, what)
        calls = list_calls(folder, *command, "--out", reference)
        whole = tiny.read_tree(reference)

        def one(_, name, environment, command=command, whole=whole):
            out = os.path.join(folder, name)
            result = tiny.train(*command, "--out", out, environment=environment)
            # An empty lock is left if its removal is what fails; the next call uses it again.
            left = {path: data for path, data in tiny.read_tree(out).items() if data or not path.endswith("text.tmp")}
            if result.returncode == 0:
                assert result.stderr == "" and left == whole, result.stderr
            else:
                tiny.check_one_line(result)
                for path, data in left.items():
                    assert whole.get(path) == data, f"{path} is left, and not whole"
                again = tiny.train(*command, "--out", out)
                if again.returncode:  # whole files are in the way, which is said
                    tiny.check_one_line(again, "overwrite")
                    again = tiny.train(*command, "--out", out, "--overwrite")
                assert again.returncode == 0 and tiny.read_tree(out) == whole, again.stderr
            shutil.rmtree(out, ignore_errors=True)

        every_fault(calls, one)


def test_full_disk(folder):
    """A real one: a small tmpfs that fills up in the middle of the run, and gets room again."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    begin, reference = short_run(folder), os.path.join(folder, "reference")
    tiny.run(*begin, "--out", reference)
    size = sum(map(len, tiny.read_tree(reference).values()))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * 3}", "none", disk], stderr=subprocess.DEVNULL,
                      check=False).returncode != 0:
        raise tiny.Skip("mounting a tmpfs is not allowed here")
    try:
        run, ballast, ended = os.path.join(disk, "run"), os.path.join(disk, "ballast"), 0
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        for left in range(0, room, max(4096, room // 24) // 4096 * 4096):
            with open(ballast, "wb") as file:
                file.write(bytes(room - left))
            result = tiny.train(*begin, "--out", run)
            ended += result.returncode == 0
            os.remove(ballast)
            if result.returncode != 0:
                tiny.check_one_line(result)
            go_on(run, begin, reference)
            shutil.rmtree(run)
        assert ended > 0, "no run ended, with however much room"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_log_on_a_full_disk(folder):
    """log.txt copies the printed output: if it cannot be written, the run says so and continues."""
    begin, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*begin, "--out", run, "--max-time", "1e-9")
    os.remove(os.path.join(run, "log.txt"))
    os.symlink("/dev/full", os.path.join(run, "log.txt"))
    out, err = tiny.run("--resume", run, "--max-time", "0")
    assert err == "" and out.count("warning: cannot write log.txt: No space left") == 1 and "finished" in out, (out, err)
    os.remove(os.path.join(run, "metrics.jsonl"))
    os.symlink("/dev/full", os.path.join(run, "metrics.jsonl"))
    shutil.rmtree(os.path.join(run, "checkpoints"))
    tiny.check_one_line(tiny.train("--resume", run), "metrics.jsonl")


def test_clock_that_jumps(folder):
    """The calendar's clock jumps by years at every look: durations and rates do not come from it."""
    need_library()
    begin, reference, run = short_run(folder), os.path.join(folder, "reference"), os.path.join(folder, "run")
    tiny.run(*begin, "--out", reference)
    out, err = tiny.run(*begin, "--out", run, "--max-time", "1000", environment=faulty(clock=1))
    assert err == "" and len(re.findall(r" 0m \d\ds left", out)) == STEPS, out
    tiny.run("--resume", run, environment=faulty(clock=1))
    tiny.check_same_end(run, reference, STEPS)
    elapsed = 0
    for line in open(os.path.join(run, "metrics.jsonl")):
        record = json.loads(line)
        assert elapsed <= record.get("elapsed_s", elapsed) < 100, record
        elapsed = record.get("elapsed_s", elapsed)
        if record["kind"] == "train":
            assert 0 < record["tokens_per_s"] < 1e9 and all(0 <= ms < 1e5 for ms in record["ms"].values()), record
    with open(os.path.join(run, "environment.json")) as file:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", json.load(file)["time"])


def unprivileged(folder):
    """Arguments for subprocess with which permissions count, also where the tests run as root."""
    if os.geteuid() != 0:
        return {}
    os.chmod(folder, 0o755)
    copy = os.path.join(folder, "train")
    shutil.copy(tiny.TRAIN, copy)
    if subprocess.run([copy, "--help"], user=65534, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        raise tiny.Skip("another user cannot run the program")
    return {"user": 65534, "group": 65534, "extra_groups": [], "executable": copy}


def test_no_permission(folder):
    begin, run = [*short_run(folder), *EXPORTABLE], os.path.join(folder, "run")
    other = unprivileged(folder)
    tiny.run(*begin, "--out", run, "--max-time", "1e-9")
    for here, folders, names in os.walk(run):
        os.chmod(here, 0o555)
        for name in names:
            os.chmod(os.path.join(here, name), 0o444)
    before = tiny.read_tree(folder)
    shard = os.path.join(folder, "t_train_000002.bin")
    try:
        tiny.check_one_line(tiny.train("--resume", run, **other), "Permission denied")
        tiny.check_one_line(tiny.train(*begin, "--out", run, "--overwrite", **other), "Permission denied")
        tiny.check_one_line(tiny.train(*begin, "--out", os.path.join(run, "new"), **other), "Permission denied")
        tiny.check_one_line(tiny.train("tokenize", "--vocab", "bytes", "--out", run, __file__, **other), "Permission denied")
        tiny.check_one_line(tiny.train("export", run, "--out", os.path.join(run, "export"), **other), "Permission denied")
        assert tiny.train("eval", run, **other).returncode == 0  # which writes nothing
        os.chmod(shard, 0)
        tiny.check_one_line(tiny.train(*begin, "--out", os.path.join(folder, "new"), **other), "t_train_000002.bin: Permission denied")
    finally:
        os.chmod(shard, 0o644)
        for here, _, _ in os.walk(run):
            os.chmod(here, 0o755)
    assert tiny.read_tree(folder) == before


def replace(path, change=1):
    """Another file of the same size under the same name."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[1500] = (data[1500] + change) % 256
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def test_shard_replaced(folder):
    begin, run = short_run(folder), os.path.join(folder, "run")
    shard = os.path.join(folder, "t_train_000002.bin")
    tiny.run(*begin, "--out", run, "--max-time", "1e-9")
    for path, option in ((shard, "--train-data"), (os.path.join(folder, "t_val_000000.bin"), "--val-data")):
        replace(path)
        before = tiny.read_tree(run)
        result = tiny.train("--resume", run)
        tiny.check_one_line(result, "is not the file that the run was made with")
        assert os.path.basename(path) in result.stderr and option in result.stderr, result.stderr
        assert tiny.read_tree(run) == before
        replace(path, -1)
    # Between steps of a run at work, which notices it at the next read.
    endless = os.path.join(folder, "endless")
    process = tiny.start(*begin, "--out", endless, "--steps", "10000000", "--checkpoint-every", "0", "--quiet")
    tiny.wait_for_steps(endless, process)
    replace(shard)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "t_train_000002.bin changed while it was in use" in err and err.count("\n") == 1, err
    replace(shard, -1)
    os.utime(shard)
    tiny.run("--resume", run, "--max-time", "0")


def test_two_processes(folder):
    """One run, one process: of those that begin it at once one does; a second is refused until the first is killed."""
    begin, run = short_run(folder), os.path.join(folder, "run")
    processes = [tiny.start(*begin, "--out", run, "--steps", "10000000", "--checkpoint-every", "5") for _ in range(4)]
    tiny.wait_for(lambda: sum(p.poll() is None for p in processes) < 2 and tiny.checkpoints(run))
    first = next(p for p in processes if p.poll() is None)
    try:
        for loser in processes:
            if loser is not first:
                _, err = loser.communicate()
                assert loser.returncode == 1 and err.count("\n") == 1 and ("another process" in err or "contains a run" in err), err
        tiny.check_one_line(tiny.train("--resume", run), "another process")
        tiny.check_one_line(tiny.train(*begin, "--out", run, "--overwrite"), "another process")
        assert first.poll() is None and tiny.checkpoints(run)
    finally:
        first.kill()
        first.communicate()
    assert tiny.train("--resume", run, "--max-time", "1e-9").returncode in (0, 75)
    check_log(run)


def test_little_memory(folder):
    """Whatever the limit of the address space: it works, or one line says that there is too little."""
    if SANITIZED:
        raise tiny.Skip("the sanitizer needs terabytes of addresses")
    begin = [*short_run(folder), "--d-model", "512", "--n-layer", "2", "--optimizer", "adamw", "--steps", "1"]
    small, enough, refused = short_run(folder), 0, 0
    program = os.path.getsize(tiny.TRAIN) >> 10  # the kernel itself kills what it cannot map, kernels for GPUs included
    limits = [(options, kib) for options, limits in ((begin, range(20 << 10, 170 << 10, 15 << 10)), (begin, [1 << 20]),
                                                     (small, range(9000, 21000, 500))) for kib in limits]
    for number, (options, kib) in enumerate(limits):
        run = os.path.join(folder, f"run{number}")
        script = 'ulimit -v "$1"; shift; exec "$@"'
        result = subprocess.run(["bash", "-c", script, "bash", str(program + kib), tiny.TRAIN, *options, "--out", run],
                                env=tiny.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode == 0:
            enough += 1
        else:
            refused += 1
            tiny.check_one_line(result, "memory")
    assert enough and refused, f"{enough} enough, {refused} refused"


def test_signal_is_answered(folder):
    """A step may take minutes: that the signal was heard is said at once."""
    slow = [*short_run(folder), "--d-model", "192", "--n-layer", "3", "--seq-len", "128", "--batch-size", "13", "--micro-batch", "1",
            "--val-data=", "--sample-every", "0", "--optimizer", "adamw"]
    notice = "SIGTERM: finishing the step and writing a checkpoint\n"
    for number in range(5):  # on a busy machine the step may be over before the notice is read
        run = os.path.join(folder, f"run{number}")
        process = tiny.start(*slow, "--out", run)
        tiny.wait_for_steps(run, process)
        process.send_signal(signal.SIGTERM)
        while process.stdout.readline() != notice:
            assert process.poll() is None
        with open(os.path.join(run, "metrics.jsonl")) as file:
            at_once = '"train"' not in file.read()
        out, _ = process.communicate()
        assert process.returncode == 75 and "stopped by SIGTERM after step" in out, out
        with open(os.path.join(run, "log.txt")) as file:
            assert notice in file.read()
        if at_once:
            break
    assert at_once, "never heard before the end of the step"


if __name__ == "__main__":
    tiny.run_tests(test_disk_full_at_every_call, test_disk_full_at_every_call_of_a_resume,
                   test_disk_full_at_every_call_of_tokenize_and_export, test_full_disk, test_log_on_a_full_disk, test_clock_that_jumps,
                   test_no_permission, test_shard_replaced, test_two_processes, test_little_memory, test_signal_is_answered)
