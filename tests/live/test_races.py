# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that exit, exec, fork or start threads while they are looked at: no wrong finding, no error."""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import Workload, ask, children_of, main, need_bpf, need_root, run, test  # noqa: E402

ASKINGS = 30
SOURCES = ("--source=bpf", "--source=procfs")


def says_gone(answer):
    return "no such process" in answer.errors.lower() or "has ended" in answer.errors


def check(answer):
    """What may be said of a process that changed meanwhile: nothing, or that it is gone."""
    if answer.status == 1:
        assert says_gone(answer), answer.errors
        return
    assert answer.status == 0, (answer.status, answer.output, answer.errors)
    answer.parse()
    assert not answer.findings, answer.findings
    assert len(answer.errors.splitlines()) <= 2, answer.errors


for churn_form in ("threads", "fork", "exec", "exit"):
    @test("churn %s: looked at %d times by each source" % (churn_form, ASKINGS))
    def _(form=churn_form):
        need_bpf()
        workload = Workload("churn", form)
        for asking in range(ASKINGS):
            check(run("why", workload.pid, "--json", SOURCES[asking % 2]))
        check(run("watch", "-p", workload.pid, "--json", "-d", "2s", "--interval=20ms"))
        assert workload.alive()


@test("churn threads, 100 times through /proc: threads whose listing is patchy are never taken for dead")
def _():
    need_root()
    workload = Workload("churn", "threads")
    seen_whole = 0
    for _ in range(100):
        answer = run("why", workload.pid, "--json", "--source=procfs")
        check(answer)
        seen_whole += not any("not every thread" in note for note in answer.process["notes"])
    # Nor is the way out to claim that nothing could be seen.
    assert seen_whole, "no listing ever settled"


@test("short-lived children, asked about by id: their end is told, or they are diagnosed")
def _():
    need_bpf()
    workload = Workload("churn", "exit")
    asked = 0
    deadline = time.monotonic() + 30
    while asked < ASKINGS and time.monotonic() < deadline:
        for child in children_of(workload.pid):
            check(run("why", child, "--json", SOURCES[asked % 2]))
            asked += 1
    assert asked, "no child was seen"


@test("a hung process that is killed while it is looked at: a finding or its end, never an error in between")
def _():
    need_bpf()
    for delay_ms in range(0, 60, 4):
        workload = Workload("abba")
        killer = threading.Timer(delay_ms / 1000, workload.process.kill)
        killer.start()
        answer = run("why", workload.pid, "--json", "--min-wait=0")
        killer.join()
        if answer.status == 1:
            assert says_gone(answer), answer.errors
            continue
        for finding in answer.parse().findings:
            assert finding["kind"] == "deadlock", finding["summary"]
        workload.stop()


@test("the whole machine, while four processes churn on it")
def _():
    need_bpf()
    for form in ("threads", "fork", "exec", "exit"):
        Workload("churn", form)
    for _ in range(10):
        answer = ask("scan")
        wrong = [finding["summary"] for finding in answer.findings if finding["process"]["comm"] == "churn"]
        assert not wrong, wrong


main()
