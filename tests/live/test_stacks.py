# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks equal those of an independent unwinder (eu-stack), pc by pc, for every way to build a program."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (WORKLOADS, Workload, ask, at_end, main, need_bpf, need_command,  # noqa: E402
                  optional_command, physical_ips, stack_of, temporary_directory, test, thread_of, wait_until)
from verdict import is_static_in_libc  # noqa: E402

FRAME = re.compile(r"^#\d+\s+0x([0-9a-f]+)")
THREAD = re.compile(r"^TID (\d+):")

BUILDS = [
    ("abba", "-O2 without frame pointers, PIE"),
    ("abba-fp", "with frame pointers"),
    ("abba-clang", "clang"),
    ("abba-nopie", "fixed addresses"),
    ("abba-static", "static"),
    ("abba-stripped", "stripped"),
    ("abba-static-stripped", "static and stripped"),
    ("hundred_dso", "100 shared objects"),
    ("bank", "C++"),
    ("lost_wakeup", "a condvar and a join, in libc without frame pointers"),
    ("rwlock kind2", "rwlock waits"),
]


def eu_stack(pid):
    """{tid: [pc, ...]} and what eu-stack complained about. It stops the target: call it last."""
    done = subprocess.run(["eu-stack", "-n", "0", "-p", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=120, check=False)
    stacks, current = {}, None
    for line in done.stdout.decode(errors="replace").splitlines():
        thread, frame = THREAD.match(line), FRAME.match(line)
        if thread:
            current = stacks.setdefault(int(thread.group(1)), [])
        elif frame and current is not None:
            current.append(int(frame.group(1), 16))
    return stacks, done.stderr.decode(errors="replace")


def hexadecimal(ips):
    return " ".join("%x" % ip for ip in ips)


def compare(pid, tids):
    process = ask("why", pid, "--min-wait=200ms").process
    said = {tid: physical_ips(stack_of(process, thread_of(process, tid))) for tid in tids}
    reference, complaints = eu_stack(pid)
    for tid in tids:
        assert len(reference[tid]) > 1, "eu-stack gave no stack of %d: %s" % (tid, complaints)
        assert said[tid] == reference[tid], "thread %d\n holdup   %s\n eu-stack %s" % (
            tid, hexadecimal(said[tid]), hexadecimal(reference[tid]))


for case_command, case_what in BUILDS:
    @test("stacks equal eu-stack's: %s (%s)" % (case_what, case_command))
    def _(command=case_command):
        need_bpf()
        need_command("eu-stack")
        workload = Workload(*command.split())
        time.sleep(0.3)
        compare(workload.pid, sorted(workload.comms()))


@test("stacks equal eu-stack's: Rust")
def _():
    need_bpf()
    need_command("eu-stack")
    optional_command("rustc")
    workload = Workload("abba_rust")
    time.sleep(0.3)
    compare(workload.pid, sorted(workload.comms()))


# Sleeps in a function that the run-time has compiled; 1 is never the word's value, so the warm-up does not.
NODE_PROGRAM = """
const word = new Int32Array(new SharedArrayBuffer(4));
function hotInner(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s; }
function hotOuter(n, value) { const s = hotInner(n); Atomics.wait(word, 0, value); return s + 1; }
let total = 0;
for (let i = 0; i < 20000; i++) total += hotOuter(100, 1);
require('fs').writeSync(1, 'ready\\n');
hotOuter(100, 0);
"""


def start_node():
    node = subprocess.Popen(["node", "--perf-basic-prof", "--interpreted-frames-native-stack", "-e", NODE_PROGRAM],
                            stdout=subprocess.PIPE, cwd=temporary_directory(), stdin=subprocess.DEVNULL)
    at_end(node.wait)
    at_end(node.kill)
    at_end(lambda: os.path.exists(perf_map(node.pid)) and os.unlink(perf_map(node.pid)))
    assert node.stdout.readline() == b"ready\n"
    wait_until(lambda: sleeps_in_futex(node.pid), 30, "node waits")
    return node.pid


def perf_map(pid):
    return "/tmp/perf-%d.map" % pid


def sleeps_in_futex(pid, tid=None):
    with open("/proc/%d/task/%d/syscall" % (pid, tid or pid), encoding="ascii") as file:
        return file.read().startswith("202 ")


@test("stacks equal eu-stack's through a JIT's code (node), and the perf map names it")
def _():
    need_bpf()
    need_command("eu-stack")
    optional_command("node")
    pid = start_node()
    process = ask("why", pid, "--min-wait=200ms").process
    stack = thread_of(process, pid)["stack"]
    names = [frame["function"] or "" for frame in stack]
    assert any("hotOuter" in name for name in names), names
    assert any(frame["language"] == "jit" for frame in stack), stack
    reference, complaints = eu_stack(pid)
    said, want = physical_ips(stack), reference[pid]
    # eu-stack has no frame-pointer rule for code without unwind rows in every version: it may end at the first
    # of the JIT's frames. As far as it goes, both must agree, and it must go into the JIT's caller.
    assert len(want) > 2, complaints
    assert said[:len(want)] == want, "holdup   %s\neu-stack %s" % (hexadecimal(said), hexadecimal(want))


# Parks for ever, below a function that was called often enough to be compiled.
JAVA_PROGRAM = """
public class Waits {
    static int sum;
    static void hotInner(int n) { for (int i = 0; i < n; i++) sum += i % 7; }
    static void hotOuter(int n, boolean park) {
        hotInner(n);
        if (park) for (;;) java.util.concurrent.locks.LockSupport.park();
    }
    public static void main(String[] arguments) {
        for (int i = 0; i < 50000; i++) hotOuter(20, false);
        System.out.println("ready");
        hotOuter(20, true);
    }
}
"""


def start_java():
    directory = temporary_directory()
    with open(os.path.join(directory, "Waits.java"), "w", encoding="ascii") as file:
        file.write(JAVA_PROGRAM)
    subprocess.run(["javac", "-d", directory, os.path.join(directory, "Waits.java")], check=True, timeout=120)
    java = subprocess.Popen(["java", "-XX:+PreserveFramePointer", "-Xmx64m", "-cp", directory,
                             "Waits"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=directory)
    at_end(java.wait)
    at_end(java.kill)
    assert java.stdout.readline() == b"ready\n"
    return java.pid


def main_java_thread(pid):
    """The thread that runs Waits.main: the second one; the first only waits for it."""
    tids = sorted(int(tid) for tid in os.listdir("/proc/%d/task" % pid))
    return tids[1]


@test("stacks equal eu-stack's through a JIT's code (java), as far as eu-stack goes")
def _():
    need_bpf()
    need_command("eu-stack")
    optional_command("java", "javac")
    pid = start_java()
    tid = main_java_thread(pid)
    wait_until(lambda: sleeps_in_futex(pid, tid), 30, "java's main thread waits")
    time.sleep(0.3)
    process = ask("why", pid, "--min-wait=200ms").process
    stack = stack_of(process, thread_of(process, tid))
    assert any(frame["module"] is None for frame in stack), "no frame in the JIT's memory: %s" % stack
    assert not any(frame["guessed"] for frame in stack), stack
    said = physical_ips(stack)
    reference, complaints = eu_stack(pid)
    want = reference[tid]
    assert len(want) > 2, complaints
    assert said[:len(want)] == want, "holdup   %s\neu-stack %s" % (hexadecimal(said), hexadecimal(want))


@test("the outermost frames are main's and the thread's start")
def _():
    need_bpf()
    workload = Workload("abba")
    process = ask("why", workload.pid).process
    for tid in workload.comms():
        thread = thread_of(process, tid)
        assert not thread["stack_incomplete"], thread
        names = [frame["function"] for frame in stack_of(process, thread)]
        if tid == workload.pid:
            assert "main" in names and names[-1] == "_start", names
            continue
        outermost = stack_of(process, thread)[-1]
        assert names[-1] in ("clone3", "__clone3", "clone", "__clone") or is_static_in_libc(outermost), names
        assert names.index("worker") == len(names) - 3, names


@test("frames have the source line where there is debug information, and inlined functions")
def _():
    need_bpf()
    workload = Workload("abba")
    process = ask("why", workload.pid).process
    stack = stack_of(process, thread_of(process, workload.tid("dl-a")))
    frame = next(frame for frame in stack if frame["function"] == "transfer")
    source = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "workloads", "abba.c"),
                  encoding="utf-8").read().splitlines()
    assert os.path.basename(frame["file"]) == "abba.c", frame
    assert "pthread_mutex_lock(to);" in source[frame["line"] - 1], (frame["line"], source[frame["line"] - 1])
    assert frame["module"] == os.path.join(WORKLOADS, "abba"), frame


main()
