#!/usr/bin/env python3
"""The scripts that download shards and the vocabulary, against a server here that imitates Hugging Face: the endpoint
answers with checksums and sends on to a second server, the CDN; both can fail in many ways. Whatever happens, at the
name of a file there is the whole file or nothing."""
import concurrent.futures
import contextlib
import hashlib
import http.server
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile

from harness import ROOT, run_tests
from tiny_runs import wait_for

TOKEN, COMMIT = "hf_SecretToken123", "0123456789abcdef0123456789abcdef01234567"
VAL, TRAIN = "fineweb_val_000000.bin", "fineweb_train_%06d.bin"
VOCAB = os.path.join(os.environ.get("TEST_DATA", ""), "r50k_base.tiktoken")
HTML = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>\n" * 30
TOKENS = 40_000


def make_shard(seed):
    return struct.pack("<256i", 20240520, 1, TOKENS, *[0] * 253) + random.Random(seed).randbytes(2 * TOKENS)


class Hub:
    """The endpoint (server 0) and the CDN (server 1)."""

    def __init__(self, n_shards=2):
        self.files = {TRAIN % i: make_shard(i) for i in range(1, n_shards + 1)}
        self.files[VAL] = make_shard(0)
        self.faults = []  # of the next answers with a body, in order
        self.head = "linked"  # how the endpoint answers
        self.log = []  # (server, method, path, authorization, range)
        self.halfway = threading.Event()  # a stalled answer is in its middle
        self.go_on = threading.Event()  # until the test lets it go
        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler(i)) for i in range(2)]
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def address(self, i):
        return f"http://127.0.0.1:{self.servers[i].server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def requests(self, server, method):
        return [entry for entry in self.log if entry[:2] == (server, method)]

    def handler(self, number):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def note(self):
                hub.log.append((number, self.command, self.path, self.headers.get("Authorization"),
                                self.headers.get("Range")))

            def answer(self, status, headers, body=b""):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def do_HEAD(self):
                self.note()
                name = self.path.split("/")[-1]
                data = hub.files.get(name)
                if hub.head in ("401", "500", "404") or data is None:
                    self.answer(int(hub.head) if hub.head.isdigit() else 404, {})
                elif hub.head == "renamed" and "/renamed/" not in self.path:
                    self.answer(307, {"Location": self.path.replace("/kjj0/", "/renamed/")})
                elif hub.head == "portal":
                    self.answer(200, {"Content-Length": len(HTML), "Content-Type": "text/html"})
                elif hub.head == "git":  # a small file, which the endpoint sends itself
                    sum = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                    self.answer(200, {"ETag": f'"{sum}"', "Content-Length": len(data), "X-Repo-Commit": COMMIT})
                else:
                    headers = {"Location": f"{hub.address(1)}/blob/{name}", "X-Repo-Commit": COMMIT}
                    if hub.head == "linked" or hub.head == "renamed":
                        headers["X-Linked-Size"] = len(data)
                        headers["X-Linked-Etag"] = f'"{hashlib.sha256(data).hexdigest()}"'
                    self.answer(302, headers)

            def do_GET(self):
                self.note()
                data = hub.files.get(self.path.split("/")[-1])
                fault = hub.faults.pop(0) if hub.faults else "none"
                if number == 0 and hub.head == "portal" or fault == "html":
                    return self.answer(200, {"Content-Length": len(HTML), "Content-Type": "text/html"}, HTML)
                if data is None or fault.isdigit():
                    return self.answer(int(fault) if fault.isdigit() else 404, {"Content-Length": 9}, b"not found")
                if fault == "wrong":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if fault == "short":
                    data = data[:len(data) // 2]
                start, status, headers = 0, 200, {}
                wanted = self.headers.get("Range")
                if wanted and fault != "no ranges":
                    start, status = int(wanted[len("bytes="):].split("-")[0]), 206
                    if start >= len(data):
                        return self.answer(416, {"Content-Length": 0})
                    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                headers["Content-Length"] = len(data) - start
                body = data[start:]
                if fault in ("cut", "stalled"):
                    self.answer(status, headers, body[:len(body) // 2])
                    if fault == "stalled":
                        self.wfile.flush()
                        hub.halfway.set()
                        hub.go_on.wait(600)
                    self.close_connection = True
                    return None
                return self.answer(status, headers, body)

        return Handler


@contextlib.contextmanager
def hub_running(**arguments):
    hub = Hub(**arguments)
    try:
        yield hub
    finally:
        hub.go_on.set()
        hub.close()


def environment(hub=None, **more):
    plain = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return {**plain, "HF_ENDPOINT": hub.address(0) if hub else "http://127.0.0.1:9", "HF_TOKEN": TOKEN,
            "PIP_NO_INDEX": "1", **more}


def start(script, *arguments, env):
    """A shell script cannot trap what is ignored when it starts, as Ctrl-C is in a background job."""
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    return subprocess.Popen([ROOT / "scripts" / script, *arguments], env=env, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=heed)


def finish(process, status=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, f"status {process.returncode}: {out}{err}"
    if status == 1:
        assert err.startswith("error: ") and err.count("\n") == 1, err
    assert TOKEN not in out + err
    return out, err


def get(hub, folder, *arguments, status=0, **more):
    """Runs get_fineweb.sh; whatever it did, at the final names are whole files."""
    process = start("get_fineweb.sh", *(arguments or ["2"]), "--out", str(folder / "data"), env=environment(hub, **more))
    result = finish(process, status)
    check_names(hub, folder)
    return result


def check_names(hub, folder):
    for path in (folder / "data").glob("*.bin"):
        assert path.read_bytes() == hub.files[path.name], path


def check_complete(hub, folder):
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert names == sorted([*hub.files, ".lock", "source.txt"]), names
    check_names(hub, folder)


def test_course(folder):
    with hub_running() as hub:
        out, err = get(hub, folder)
        check_complete(hub, folder)
        assert err == "" and f"revision main is commit {COMMIT}" in out
        data = folder / "data"
        assert out.splitlines()[-1] == (f"./train --train-data '{data}/fineweb_train_*.bin' --val-data "
                                        f"'{data}/fineweb_val_*.bin'"), out
        assert "2 training shards, 80,000 tokens; validation shard, 40,000 tokens" in out
        heads = hub.requests(0, "HEAD")
        paths = [f"/datasets/kjj0/fineweb10B-gpt2/resolve/{rev}/{name}" for rev, name in
                 (("main", VAL), (COMMIT, TRAIN % 1), (COMMIT, TRAIN % 2))]
        assert [entry[2] for entry in heads] == paths
        # The token is for the endpoint and nobody else.
        assert all(entry[3] == f"Bearer {TOKEN}" for entry in heads)
        gets = hub.requests(1, "GET")
        assert len(gets) == 3 and len(hub.log) == 6 and all(entry[3] is None for entry in gets)

        # What is there is not asked for again, even offline; more can be added.
        hub.log.clear()
        out, _ = get(hub, folder, "1", HF_ENDPOINT="http://127.0.0.1:9")
        assert not hub.log and "2 training shards" in out
        hub.files[TRAIN % 3] = make_shard(3)
        get(hub, folder, "3", "--revision", COMMIT, HF_TOKEN="")
        assert len(hub.log) == 2 and COMMIT in hub.log[0][2] and hub.log[0][3] is None
        check_complete(hub, folder)


def test_verify(folder):
    with hub_running() as hub:
        get(hub, folder)
        hub.log.clear()
        get(hub, folder, "2", "--verify")
        assert len(hub.requests(0, "HEAD")) == 3 and not hub.requests(1, "GET")
        damaged = folder / "data" / (TRAIN % 2)
        damaged.write_bytes(hub.files[TRAIN % 2][:-1] + b"?")
        out, _ = get(hub, folder, "2", "--verify")
        assert f"{TRAIN % 2} has a wrong checksum" in out
        damaged.write_bytes(hub.files[TRAIN % 2][:-2])  # seen without asking anybody
        out, _ = get(hub, folder)
        assert f"{TRAIN % 2} is incomplete" in out
        assert len(hub.requests(1, "GET")) == 2
        check_complete(hub, folder)
        process = start("get_fineweb.sh", "2", "--verify", "--out", str(folder / "data"), env=environment())
        assert "cannot verify" in finish(process, 1)[1]
        check_complete(hub, folder)


def test_failures_leave_nothing(folder):
    cases = {"cut": "stopped at", "html": "instead of", "short": "instead of", "wrong": "checksum of the download is wrong",
             "404": "404", "503": "503"}
    with hub_running() as hub:
        for number, (fault, words) in enumerate(cases.items()):
            here = folder / str(number)
            here.mkdir()
            hub.faults = [fault]
            _, err = get(hub, here, "2", "--retries", "1", status=1)
            assert words in err, (fault, err)
            assert not list(here.glob("data/*.bin")), fault
            get(hub, here, "2", "--retries", "1")  # in good weather it goes on
            check_complete(hub, here)


def test_trouble_on_the_way(folder):
    """Several attempts within one call: each goes on from what came before, where that is any good."""

    def recover(faults):
        here = folder / "_".join(faults)
        here.mkdir()
        with hub_running(n_shards=1) as hub:
            hub.faults = list(faults)
            if faults == ["wrong", "wrong"]:  # no third time
                _, err = get(hub, here, "1", status=1)
                assert "twice" in err and not list(here.glob("data/*.bin*"))
                return
            get(hub, here, "1")
            assert not hub.faults
            check_complete(hub, here)
            ranges = [entry[4] for entry in hub.requests(1, "GET")]
            assert any(ranges) == (faults[0] == "cut"), ranges

    cases = ["cut", "500"], ["html"], ["wrong"], ["cut", "no ranges"], ["wrong", "wrong"]
    with concurrent.futures.ThreadPoolExecutor() as pool:  # most of the time is pauses
        list(pool.map(recover, cases))


def test_second_call_resumes(folder):
    with hub_running() as hub:
        hub.faults = ["cut"]
        get(hub, folder, "2", "--retries", "1", status=1)
        part = folder / "data" / (VAL + ".part")
        size = part.stat().st_size
        assert 0 < size < len(hub.files[VAL])
        hub.log.clear()
        get(hub, folder)
        assert [entry[4] for entry in hub.requests(1, "GET")] == [f"bytes={size}-", None, None]
        check_complete(hub, folder)


def test_stopped(folder):

    def stop(sign):
        here = folder / sign.name
        here.mkdir()
        with hub_running() as hub:
            hub.faults = ["stalled"]
            process = start("get_fineweb.sh", "2", "--out", str(here / "data"), env=environment(hub))
            assert hub.halfway.wait(300)
            part = here / "data" / (VAL + ".part")
            wait_for(lambda: part.exists() and part.stat().st_size > 1000, process)
            process.send_signal(sign)
            process.wait(timeout=300)  # less than the answer is stalled: it does not wait for the transfer
            hub.go_on.set()
            assert process.returncode == (-9 if sign == signal.SIGKILL else 130), process.returncode
            assert sign == signal.SIGKILL or "the same command resumes" in process.communicate()[1]
            assert not list(here.glob("data/*.bin"))
            hub.log.clear()
            get(hub, here)
            assert hub.requests(1, "GET")[0][4], "it did not go on from what was there"
            check_complete(hub, here)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(stop, (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)))


def test_strange_parts(folder):
    """What lies under the temporary name is not trusted."""
    with hub_running(n_shards=0) as hub:
        good = hub.files[VAL]
        for number, part in enumerate((HTML, good + b"more", good, good[:5], good[:-1] + b"?", good[:2000] + b"?" * 2000)):
            here = folder / str(number)
            (here / "data").mkdir(parents=True)
            (here / "data" / (VAL + ".part")).write_bytes(part)
            hub.log.clear()
            get(hub, here, "0")
            assert len(hub.requests(1, "GET")) == (0 if part == good else 2 if number == 5 else 1), number
            check_complete(hub, here)


def test_two_at_once(folder):
    with hub_running() as hub:
        processes = [start("get_fineweb.sh", "2", "--out", str(folder / "data"), env=environment(hub)) for _ in range(3)]
        for process in processes:
            finish(process)
        check_complete(hub, folder)
        assert len(hub.requests(1, "GET")) == 3


def test_kinds_of_endpoint(folder):
    for head, words, authorized in (("git", "", 0), ("plain", "no checksum", None), ("renamed", "", None)):
        here = folder / head
        here.mkdir()
        with hub_running() as hub:
            hub.head = head
            hub.faults = ["cut", "none"] if head == "plain" else []
            out, _ = get(hub, here)
            assert words in out and ("no checksum" in out) == (head == "plain")
            check_complete(hub, here)
            assert all(entry[3] == f"Bearer {TOKEN}" for entry in hub.requests(0, "HEAD") + hub.requests(0, "GET"))
            assert all(entry[3] is None for entry in hub.requests(1, "GET"))
            assert len(hub.requests(0, "GET")) == (3 if authorized == 0 else 0)


def test_refusing_endpoints(folder):
    with hub_running() as hub:
        for head, words in (("401", "HF_TOKEN"), ("404", "404"), ("500", "status 500"), ("portal", "not a token shard")):
            hub.head = head
            _, err = get(hub, folder, "2", "--retries", "1", status=1)
            assert words in err, err
            assert not list(folder.glob("data/*.bin*"))


def test_offline(folder):
    """Said at once: it does not pause and try again where nothing answers."""
    (folder / "sleep").write_text(f"#!/bin/sh\ntouch {folder}/paused\n")
    (folder / "sleep").chmod(0o755)
    process = start("get_fineweb.sh", "2", "--out", str(folder / "data"), env=environment(PATH=f"{folder}:{os.environ['PATH']}"))
    _, err = finish(process, 1)
    assert not (folder / "paused").exists()
    assert "HF_ENDPOINT" in err and "train tokenize" in err
    assert not list(folder.glob("data/*.bin*"))


def test_disk_space(folder):
    (folder / "df").write_text("#!/bin/sh\necho Filesystem\necho disk 1000 990 10 99% /\n")
    (folder / "df").chmod(0o755)
    with hub_running() as hub:
        _, err = get(hub, folder, status=1, PATH=f"{folder}:{os.environ['PATH']}")
        assert "10,240 bytes free" in err and "243,072" in err, err
        assert not hub.requests(1, "GET")


def test_bad_arguments(folder):
    with hub_running() as hub:
        get(hub, folder, "0")
        for arguments, words in (([], "give the number of training shards"), (["104"], "0 to 103"), (["-3"], "unknown option"), (["x"], "0 to 103"),
                                 (["1", "--dataset", "fineweb"], "supported are fineweb10B"), (["1", "2"], "unexpected '2'"),
                                 (["1", "--out"], "needs a value"), (["1", "--retries", "0"], "bad --retries"),
                                 (["1", "--dataset", "fineweb100B", "--out", str(folder / "data")], "holds shards of kjj0/fineweb10B"),
                                 (["1", "--out", "/dev/null/x"], "cannot create the directory")):
            _, err = finish(start("get_fineweb.sh", *arguments, env=environment(hub)), 1)
            assert words in err, err
        for variables, words in (({"HF_ENDPOINT": "mirror"}, "not a URL"), ({"HF_TOKEN": 'a"b'}, "HF_TOKEN")):
            _, err = finish(start("get_fineweb.sh", "1", "--out", str(folder / "x"), env=environment(**variables)), 1)
            assert words in err, err


def get_vocab(folder, status=0, **more):
    process = start("get_vocab.sh", "--out", str(folder / "v" / "gpt2.tiktoken"), env=environment(**more))
    return finish(process, status)


def test_vocab_failures(folder):
    with hub_running() as hub:
        hub.files["vocab"] = b"IQ== 0\n"
        for url, faults, words in (("/vocab", [], "checksum is wrong"), ("/vocab", ["html"], "checksum is wrong"),
                                   ("/other", [], "404"), ("", [], "404"), ("/vocab", ["cut"] * 3, "curl: (18)")):
            hub.faults = list(faults)
            # (A Python that does not start has no pip, and says so at once.)
            _, err = get_vocab(folder, status=1, GPT2_VOCAB_URL=hub.address(1) + url, PYTHONHOME="/nonexistent")
            assert words in err and "GPT2_VOCAB_URL" in err, err
            assert not list(folder.glob("v/*"))
    before = time.time()
    get_vocab(folder, status=1, GPT2_VOCAB_URL="http://127.0.0.1:9/vocab")
    assert time.time() - before < 20
    assert not list(folder.glob("v/*")) and not list(folder.glob("v/.*"))
    (folder / "v" / "gpt2.tiktoken").write_text("mine")
    _, err = get_vocab(folder, status=1)
    assert "is not the GPT-2 vocabulary" in err
    assert (folder / "v" / "gpt2.tiktoken").read_text() == "mine"


def test_vocab_from_mirror(folder):
    with hub_running() as hub, open(VOCAB, "rb") as file:
        hub.files["vocab"] = data = file.read()
        get_vocab(folder, GPT2_VOCAB_URL=hub.address(1) + "/vocab")
        assert [path.read_bytes() == data for path in (folder / "v").iterdir()] == [True]
        out, _ = get_vocab(folder, GPT2_VOCAB_URL="http://127.0.0.1:9/vocab")
        assert "already exists" in out


def test_vocab_from_package(folder):
    wheels = folder / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "mlx_whisper-0.4.3-py3-none-any.whl", "w") as wheel:
        wheel.write(VOCAB, "mlx_whisper/assets/gpt2.tiktoken")
        info = "mlx_whisper-0.4.3.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: mlx-whisper\nVersion: 0.4.3\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    out, _ = get_vocab(folder, GPT2_VOCAB_URL="http://127.0.0.1:9/vocab", PIP_FIND_LINKS=str(wheels))
    assert "from the package" in out
    with open(VOCAB, "rb") as file:
        data = file.read()
    assert [path.read_bytes() == data for path in (folder / "v").iterdir()] == [True]


def missing(name):
    """Why a test cannot be made here; None if it can."""
    if not shutil.which("curl") or not shutil.which("flock"):
        return "curl or flock is not installed"
    if "vocab_from" in name and not os.path.exists(VOCAB):
        return "TEST_DATA with r50k_base.tiktoken is not there"
    if name.endswith("package") and subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True).returncode:
        return "python3 has no pip"
    return None


if __name__ == "__main__":
    tests = {}
    for test_name, test in list(globals().items()):
        if not test_name.startswith("test_"):
            continue
        why = missing(test_name)
        if len(sys.argv) > 1 and test_name not in sys.argv[1:]:
            continue
        if why:
            print(f"skipped {test_name}: {why}")
        else:
            tests[test_name] = test
    run_tests(tests)
