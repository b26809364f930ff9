# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing is stopped: the watched program cannot tell that it was looked at."""

import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (Workload, ask, main, need_bpf, need_command, read_text, run, switch_counts, task_ids,  # noqa: E402
                  temporary_directory, test)

# Calls that stop, signal or write into another process.
TOUCHING = re.compile(r"\b(ptrace|process_vm_writev|kill|tkill|tgkill|rt_sigqueueinfo|rt_tgsigqueueinfo"
                      r"|pidfd_send_signal|process_madvise|pidfd_getfd|kcmp)\(([^)]*)")
WRITABLE_PROC = re.compile(r'open(at)?\([^"]*"(/proc/[^"]*)", [^)]*(O_WRONLY|O_RDWR)')


class StateWatcher(threading.Thread):
    """Reads the state of every thread of a process, over and over, until stopped."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.states, self.rounds = pid, set(), 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set():
            for tid in task_ids(self.pid):
                try:
                    stat = read_text("/proc/%d/task/%d/stat" % (self.pid, tid))
                except OSError:
                    continue
                self.states.add(stat.rpartition(") ")[2][0])
            self.rounds += 1

    def stop(self):
        self.ended.set()
        self.join()


@test("strace of why: no ptrace, no signal to the target, no write to it")
def _():
    need_bpf()
    need_command("strace")
    for command in ("abba", "pool"):
        workload = Workload(command)
        time.sleep(0.3)
        trace = os.path.join(temporary_directory(), "trace")
        answer = run("why", workload.pid, "--min-wait=200ms", "--json", wrap=("strace", "-f", "-o", trace))
        assert answer.status == 3, (answer.status, answer.errors)
        text = read_text(trace)
        assert "execve(" in text and "exit_group(" in text, "strace saw nothing"
        targets = {str(tid) for tid in task_ids(workload.pid)}
        for name, arguments in TOUCHING.findall(text):
            words = {word.strip() for word in arguments.split(",")}
            assert name not in ("ptrace", "process_vm_writev"), (name, arguments)
            assert not words & targets, (name, arguments)
        for _, path, _ in WRITABLE_PROC.findall(text):
            assert path.split("/")[2] not in targets, path


@test("its threads are never stopped or traced, and their switch counts stand still")
def _():
    need_bpf()
    for command in ("abba", "philosophers", "rwlock kind2", "pool 1000"):
        workload = Workload(*command.split())
        time.sleep(0.3)
        before = switch_counts(workload.pid)
        assert {state for state, _, _ in before.values()} == {"S"}, before
        watcher = StateWatcher(workload.pid)
        watcher.start()
        for _ in range(5):
            assert ask("why", workload.pid, "--min-wait=200ms").findings
            assert ask("scan", "-p", workload.pid, "--min-wait=200ms").findings
        watcher.stop()
        assert watcher.rounds > 0 and watcher.states == {"S"}, (command, watcher.states)
        after = switch_counts(workload.pid)
        moved = {tid: (before[tid], after.get(tid)) for tid in before if before[tid] != after.get(tid)}
        assert not moved, moved


@test("a running program goes on running while it is watched")
def _():
    need_bpf()
    workload = Workload("busy")
    watcher = StateWatcher(workload.pid)
    watcher.start()
    ask("watch", "-p", workload.pid, "-d", "3s", "--interval=100ms")
    watcher.stop()
    assert watcher.rounds > 10 and not watcher.states & {"t", "T"}, watcher.states


main()
