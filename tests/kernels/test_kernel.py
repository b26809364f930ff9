# SPDX-License-Identifier: GPL-2.0-or-later
"""In the booted machine: which service this kernel gives, to whom, and that near-misses stay silent."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from cases import MIN_WAIT, assert_deadlocks_found, assert_source  # noqa: E402
from live import Workload, ask, assert_silent, main, run, test  # noqa: E402

NEAR_MISSES = ("busy", "idle_pool epoll", "idle_pool accept", "idle_pool signal", "idle_pool read", "timed_abba",
               "trylock_backoff", "handed_mutex pass", "handed_mutex self", "self_deadlock errorcheck",
               "self_deadlock recursive", "robust_recovery")
SOURCES = ("bpf", "procfs")
ASKINGS = 4
PHANTOM_SCANS = 500
# Root, but for what BPF takes; exec gives root everything that its bounding set has.
WITHOUT_BPF = ("setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon")
WITH_BPF_ALONE = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                  "--inh-caps", "-all,+bpf,+perfmon,+sys_ptrace", "--ambient-caps", "-all,+bpf,+perfmon,+sys_ptrace",
                  "--bounding-set", "-all,+bpf,+perfmon,+sys_ptrace")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


@test("full service: the iterator is used, nothing is lost, nothing is reduced")
def _():
    answer = ask("scan")
    assert_silent(answer)
    assert_source(answer, "bpf")
    assert answer.summary["threads"] >= 2, answer.summary
    assert not any(answer.summary["lost"].values()), answer.summary["lost"]


@test("CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are enough for it, as its error message promises")
def _():
    workload = Workload("abba")
    answer = ask("why", workload.pid, "--min-wait=0", wrap=WITH_BPF_ALONE)
    assert answer.summary["self"]["source"] == "bpf", answer.summary
    assert answer.finding["kind"] == "deadlock", answer.finding["summary"]


for near_miss in NEAR_MISSES:
    @test("%s: silent by both sources" % near_miss)
    def _(command=near_miss):
        input_fd, outside = os.pipe()
        workload = Workload(*command.split(), input_fd=input_fd)
        for asking in range(ASKINGS):
            source = SOURCES[asking % len(SOURCES)]
            answer = ask("why", workload.pid, "--source=" + source)
            assert_silent(answer)
            assert_source(answer, source)
            assert workload.alive(), "it ended after %d questions" % asking
        os.close(input_fd)
        os.close(outside)


@test("no phantom in %d scans of threads that hand four mutexes round" % PHANTOM_SCANS)
def _():
    workload = Workload("phantom")
    answer = ask("watch", "-p", workload.pid, "--interval=0", "--count=%d" % PHANTOM_SCANS, "--min-wait=0",
                 "--source=bpf", timeout=300)
    wrong = [finding["summary"] for finding in answer.findings if finding["kind"] != "stalled_waiter"]
    assert not wrong, wrong
    assert answer.summary["scans"] == PHANTOM_SCANS, answer.summary
    assert answer.summary["waiters"] > 0, "no waiter was seen: nothing was on trial"


@test("without CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN: /proc, said so and why, and the same verdicts")
def _():
    answer = assert_deadlocks_found("procfs", wrap=WITHOUT_BPF)
    notes = " ".join(answer.summary["notes"])
    assert "CAP_BPF" in notes and "Reading /proc instead" in notes and "reduced service" in notes, notes


@test("without them --source=bpf is an error, with what is missing and the mend; /proc scans, and ends with 0 or 3")
def _():
    refused = run("scan", "--source=bpf", "--json", wrap=WITHOUT_BPF)
    assert (refused.status, refused.output) == (1, b""), (refused.status, refused.output)
    for word in ("CAP_BPF", "CAP_PERFMON", "--source=procfs"):
        assert word in refused.errors, refused.errors
    assert_silent(ask("scan", wrap=WITHOUT_BPF))
    workload = Workload("abba")
    answer = ask("scan", "-p", workload.pid, "--min-wait=0", wrap=WITHOUT_BPF)
    assert answer.status == 3 and answer.finding["process"]["pid"] == workload.pid, answer.objects


@test("a user without any capability cannot look into root's process, and is told what is missing")
def _():
    workload = Workload("abba")
    answer = run("why", workload.pid, MIN_WAIT, wrap=NOBODY)
    assert answer.status == 1 and answer.output == b"", (answer.status, answer.output)
    assert "CAP_SYS_PTRACE" in answer.errors, answer.errors


main()
