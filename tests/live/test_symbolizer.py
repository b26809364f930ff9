# SPDX-License-Identifier: GPL-2.0-or-later
"""The symbolizer: a process without any right, and without any importance."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (HOLDUP, WORKLOADS, Background, Workload, ask, children_of, main, need_bpf,  # noqa: E402
                  read_text, status_fields, test, wait_until)

NO_CAPABILITIES = "0000000000000000"
SECCOMP_FILTER = "2"


def descendants_with_status(pid):
    found = {}
    for child in children_of(pid):
        fields = status_fields(child, child)
        if fields:
            found[child] = fields
    return found


def workers(pid):
    """The symbolizers of a holdup process: descendants that run under a seccomp filter."""
    return [child for child, fields in descendants_with_status(pid).items()
            if fields["Seccomp"] == SECCOMP_FILTER]


@test("the worker has no capability, another user, a seccomp filter, no new privileges, and no file of its own")
def _():
    need_bpf()
    workload = Workload("abba")
    watch = Background("watch", "-p", workload.pid, "--min-wait=100ms")
    wait_until(lambda: workers(watch.pid), 30, "a symbolizer")
    time.sleep(1)
    for worker in workers(watch.pid):
        fields = status_fields(worker, worker)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert fields[name].strip() == NO_CAPABILITIES, (name, fields[name])
        assert set(fields["Uid"].split()).isdisjoint({"0"}), fields["Uid"]
        assert set(fields["Gid"].split()).isdisjoint({"0"}), fields["Gid"]
        assert fields["Groups"].strip() in ("", fields["Gid"].split()[0]), fields["Groups"]
        assert fields["NoNewPrivs"].strip() == "1", fields["NoNewPrivs"]
        limits = read_text("/proc/%d/limits" % worker)
        for name in ("Max core file size", "Max processes", "Max file size"):
            line = next(line for line in limits.splitlines() if line.startswith(name))
            assert line[len(name):].split()[0] == "0", line
        for fd in os.listdir("/proc/%d/fd" % worker):
            target = os.readlink("/proc/%d/fd/%s" % (worker, fd))
            assert not target.startswith("anon_inode:bpf"), "it has inherited a BPF object: " + target
            assert not target.startswith("/proc/"), "it has a door to /proc: " + target


def why_while_killing(pid):
    """Asks why, and kills every symbolizer as soon as it is seen. Returns the answer and the number killed."""
    killed = set()
    process = subprocess.Popen([HOLDUP, "why", str(pid), "--min-wait=200ms", "--json"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ended = threading.Event()

    def kill_workers():
        while not ended.is_set():
            for child in children_of(process.pid):
                try:
                    os.kill(child, signal.SIGKILL)
                    killed.add(child)
                except ProcessLookupError:
                    pass

    killer = threading.Thread(target=kill_workers, daemon=True)
    killer.start()
    output, errors = process.communicate(timeout=60)
    ended.set()
    killer.join()
    return process.returncode, output, errors.decode(errors="replace"), len(killed)


@test("killed again and again, it takes nothing but names with it: the verdict stands, with addresses and a note")
def _():
    need_bpf()
    workload = Workload("abba")
    time.sleep(0.3)
    bare = 0
    for _ in range(10):
        status, output, errors, killed = why_while_killing(workload.pid)
        assert status == 3, (status, errors)
        objects = [json.loads(line) for line in output.decode().splitlines()]
        finding = next(item for item in objects if item["type"] == "finding")
        assert finding["kind"] == "deadlock", finding["summary"]
        assert len(finding["cycle"]) == 2, finding["cycle"]
        stacks = [thread["stack"] for thread in finding["threads"] if not thread["same_as"]]
        assert all(stack and all(frame["ip"] for frame in stack) for stack in stacks), stacks
        if killed and any(thread["stack_incomplete"] for thread in finding["threads"]):
            bare += 1
            notes = " ".join(finding["notes"] + objects[-1]["notes"] +
                             [thread["stack_incomplete"] or "" for thread in finding["threads"]])
            assert "symbolizer" in notes, notes
            never_started = "could not be started" in notes
            assert never_started or objects[-1]["lost"]["symbolizer_failed"] > 0, objects[-1]
    assert bare, "it was never killed in time: nothing was tried"


@test("killed while holdup watches, it is started anew: a later finding has names")
def _():
    need_bpf()
    first = Workload("abba")
    watch = Background("watch", "--exe=" + os.path.join(WORKLOADS, "abba"),
                       "--exe=" + os.path.join(WORKLOADS, "philosophers"), "--min-wait=200ms", "--interval=200ms",
                       "-d", "8s")
    assert watch.first_object()["process"]["pid"] == first.pid
    for worker in workers(watch.pid):
        os.kill(worker, signal.SIGKILL)
    second = Workload("philosophers")
    later = next(item for item in watch.finish().findings if item["process"]["pid"] == second.pid)
    names = [frame["function"] for thread in later["threads"] for frame in thread["stack"]]
    assert "dine" in names, names


@test("nothing is left behind: when holdup is killed, its symbolizer ends")
def _():
    need_bpf()
    workload = Workload("abba")
    watch = Background("watch", "-p", workload.pid, "--min-wait=100ms")
    wait_until(lambda: workers(watch.pid), 30, "a symbolizer")
    children = children_of(watch.pid)
    watch.kill()
    wait_until(lambda: not any(os.path.exists("/proc/%d/exe" % child) for child in children), 10,
               "the symbolizer ends")


@test("without symbols no symbolizer is started, and the verdict is the same")
def _():
    need_bpf()
    workload = Workload("abba")
    time.sleep(0.3)
    answer = ask("why", workload.pid, "--min-wait=200ms", "--no-symbols")
    finding = answer.finding
    assert finding["kind"] == "deadlock", finding["summary"]
    assert {int(lock["address"], 16) for lock in finding["locks"]} == {
        int(workload.fact("m1"), 16), int(workload.fact("m2"), 16)}
    watch = Background("watch", "-p", workload.pid, "--no-symbols")
    time.sleep(1)
    assert not children_of(watch.pid)


@test("stacks of two processes in one answer: a question about the second one never comes too early")
def _():
    need_bpf()
    # The owner's process and the waiter's are unwound together; the worker may be at the second already when
    # the first one's stack is taken in.
    workload = Workload("stopped_holder")
    for _ in range(30):
        answer = ask("why", workload.pid, "--min-wait=0")
        assert answer.summary["lost"]["symbolizer_failed"] == 0, answer.summary["lost"]


main()
