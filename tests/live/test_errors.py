# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors: each says what failed, why and what to do, on stderr alone, with the exit code of the contract."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (HOLDUP, Background, Workload, ask, at_end, main, need_root, public_copy,  # noqa: E402
                  read_text, run, test, unprivileged)

# Arguments, exit code, texts that stderr must contain.
USAGE = [
    ((), 2, ("usage",)),
    (("whi", "1"), 2, ("unknown verb 'whi'", "did you mean 'why'?")),
    (("frobnicate",), 2, ("unknown verb 'frobnicate'", "holdup help")),
    (("why",), 2, ("PID",)),
    (("why", "nginx"), 2, ("nginx", "process id")),
    (("why", "0"), 2, ("process id",)),
    (("why", "-5"), 2, ()),
    (("why", "99999999999999999999"), 2, ("process id",)),
    (("why", "1", "2"), 2, ()),
    (("why", "1", "--jsn"), 2, ("unknown flag --jsn", "--json")),
    (("scan", "--min-wiat=1s"), 2, ("unknown flag --min-wiat", "did you mean --min-wait?")),
    (("scan", "--min-wait"), 2, ("--min-wait", "TIME")),
    (("scan", "--min-wait=soon"), 2, ("--min-wait", "soon", "500ms")),
    (("watch", "-d", "-1s"), 2, ("--duration", "-1s")),
    (("watch", "--count=0"), 2, ("--count",)),
    (("scan", "-p", "12,x"), 2, ("12,x",)),
    (("scan", "--comm="), 2, ("--comm", "empty")),
    (("scan", "--color=pink"), 2, ("pink", "auto, always or never")),
    (("scan", "--source=magic"), 2, ("magic", "bpf", "procfs")),
]


for usage_arguments, usage_status, usage_texts in USAGE:
    @test("usage: holdup " + " ".join(usage_arguments))
    def _(arguments=usage_arguments, status=usage_status, texts=usage_texts):
        answer = run(*arguments)
        assert answer.status == status, (answer.status, answer.errors)
        assert answer.output == b"", "errors belong on stderr: %r" % answer.output
        assert answer.errors.strip(), "no word of explanation"
        for text in texts:
            assert text in answer.errors, (text, answer.errors)


def a_free_pid():
    """The id of a process that has just ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@test("no such process: exit 1, its id, and what to do")
def _():
    pid = a_free_pid()
    for source in ("--source=bpf", "--source=procfs", "--source=auto"):
        answer = run("why", pid, source)
        if source == "--source=bpf" and os.geteuid() != 0:
            continue
        assert answer.status == 1, (answer.status, answer.errors)
        assert str(pid) in answer.errors and "no such process" in answer.errors.lower(), answer.errors
        assert answer.output == b"", answer.output


@test("a thread's id is not a process's, and the error names the process")
def _():
    need_root()
    workload = Workload("abba")
    answer = run("why", workload.tid("dl-a"), "--json")
    assert answer.status == 1 or answer.findings is not None
    if answer.status == 1:
        assert str(workload.pid) in answer.errors, answer.errors
    else:
        assert answer.parse().process["process"]["pid"] == workload.pid


@test("a zombie, and a kernel thread: told as such")
def _():
    need_root()
    zombie = subprocess.Popen(["true"])
    at_end(zombie.wait)
    time.sleep(0.3)
    answer = run("why", zombie.pid)
    assert answer.status in (0, 1), (answer.status, answer.errors)
    assert answer.status == 0 or answer.errors.strip()
    kernel_threads = [name for name in os.listdir("/proc") if name.isdigit() and is_kernel_thread(name)]
    if kernel_threads:
        answer = run("why", kernel_threads[0])
        assert answer.status in (0, 1), (answer.status, answer.errors)


def is_kernel_thread(pid):
    try:
        return read_text("/proc/%s/cmdline" % pid) == "" and " 2 " in read_text("/proc/%s/stat" % pid)[:60]
    except OSError:
        return False


@test("not permitted: exit 1, what is missing, and the mend")
def _():
    drop = unprivileged()
    workload = Workload("abba")
    holdup = public_copy(HOLDUP)
    for arguments in (("why", workload.pid), ("scan", "--source=bpf"), ("watch", "--source=bpf", "-d", "1s")):
        answer = run(*arguments, wrap=drop, binary=holdup)
        assert answer.status == 1, (arguments, answer.status, answer.errors)
        assert "permi" in answer.errors.lower(), (arguments, answer.errors)
        assert "root" in answer.errors or "CAP_" in answer.errors, (arguments, answer.errors)
        assert answer.output == b"", answer.output


@test("nothing found is 0, something found is 3, in every format and verb")
def _():
    need_root()
    quiet = Workload("idle_pool", "epoll")
    hung = Workload("abba")
    time.sleep(0.4)
    for flags in ((), ("--json",)):
        for pid, status in ((quiet.pid, 0), (hung.pid, 3)):
            for verb in (("why", pid), ("scan", "-p", pid), ("watch", "-p", pid, "-d", "1500ms")):
                answer = run(*verb, "--min-wait=200ms", *flags)
                assert answer.status == status, (verb, flags, answer.status, answer.errors)


@test("help and version: exit 0, on stdout")
def _():
    for arguments in (("--help",), ("-h",), ("help",), ("why", "--help"), ("watch", "-h"), ("--version",), ("-V",)):
        answer = run(*arguments)
        assert answer.status == 0 and answer.output and not answer.errors, (arguments, answer.status, answer.errors)
        assert all(len(line) <= 80 for line in answer.output.decode().splitlines()), arguments


@test("a watch that is interrupted says its totals and ends with the status of what it found")
def _():
    need_root()
    hung = Workload("abba")
    for number in (2, 15):
        watch = Background("watch", "-p", hung.pid, "--min-wait=200ms", "--interval=200ms")
        assert watch.first_object()["kind"] == "deadlock"
        os.kill(watch.pid, number)
        assert watch.finish(timeout=30).status == 3


@test("a target that names no process finds nothing, and the watch goes on")
def _():
    need_root()
    answer = ask("watch", "--comm", "no-such-program", "-d", "1s", "--interval=200ms")
    assert answer.status == 0 and answer.summary["scans"] >= 2, answer.summary


main()
