# SPDX-License-Identifier: GPL-2.0-or-later
"""Near-misses: programs that look stuck to a careless eye, and deserve no finding."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import Workload, ask, assert_silent, main, need_bpf, test  # noqa: E402

CASES = [
    ("busy", "contention ends by itself: no wait is as long as the threshold"),
    ("idle_pool epoll", "workers in a condvar wait for work, and main for the network"),
    ("idle_pool accept", "as above, in accept"),
    ("idle_pool signal", "as above, for a signal"),
    ("idle_pool read", "as above, for input"),
    ("timed_abba", "a cycle of timed waits dissolves itself"),
    ("trylock_backoff", "who only tries does not wait"),
    ("handed_mutex pass", "a third thread unlocks: a semaphore in a mutex's clothes"),
    ("handed_mutex self", "another thread unlocks what this one waits for and is said to own"),
    ("self_deadlock errorcheck", "the relock is refused (EDEADLK) and the thread lives"),
    ("self_deadlock recursive", "the relock is counted"),
    ("robust_recovery", "a robust mutex survives its owner"),
]
# The moment matters in most of them, so ask at many.
ASKINGS = 20
SOURCES = ("--source=bpf", "--source=procfs")


for case_command, case_why in CASES:
    @test("%s: silent: %s" % (case_command, case_why))
    def _(command=case_command):
        need_bpf()
        input_fd, outside = os.pipe()
        workload = Workload(*command.split(), input_fd=input_fd)
        for asking in range(ASKINGS):
            assert_silent(ask("why", workload.pid, SOURCES[asking % 2]))
            assert workload.alive(), "it ended after %d questions" % asking
        os.close(input_fd)
        os.close(outside)


@test("near-misses stay silent over time: watch sees them for longer than the threshold")
def _():
    need_bpf()
    input_fd, outside = os.pipe()
    workloads = [Workload(*command.split(), input_fd=input_fd) for command, _ in CASES if command != "busy"]
    answer = ask("watch", "-d", "5s", "-p", ",".join(str(workload.pid) for workload in workloads))
    assert_silent(answer)
    assert answer.summary["scans"] >= 4, answer.summary
    os.close(input_fd)
    os.close(outside)


@test("an idle pool is not even contention: why says that it is idle")
def _():
    need_bpf()
    workload = Workload("idle_pool", "epoll")
    time.sleep(0.2)
    answer = ask("why", workload.pid, "--min-wait=100ms")
    assert_silent(answer)
    locks = {lock["type"] for lock in answer.process["locks"]}
    assert locks == {"cond"}, locks


for phantom_source, phantom_scans in zip(SOURCES, (5000, 1000)):
    @test("no phantom: %d scans (%s) of threads that hand four mutexes round" % (phantom_scans, phantom_source))
    def _(source=phantom_source, scans=phantom_scans):
        need_bpf()
        look_for_phantoms(source, scans)


def look_for_phantoms(source, scans):
    workload = Workload("phantom")
    # Waits of any age count: it is the stability protocol that is on trial, not the threshold.
    answer = ask("watch", "-p", workload.pid, "--interval=0", "--count=%d" % scans, "--min-wait=0",
                 source, timeout=600)
    wrong = [finding["summary"] for finding in answer.findings if finding["kind"] != "stalled_waiter"]
    assert not wrong, wrong
    assert answer.summary["scans"] == scans, answer.summary
    assert answer.summary["waiters"] > 0, "no waiter was seen: nothing was on trial"
    assert workload.alive()


main()
