# SPDX-License-Identifier: GPL-2.0-or-later
"""The live test harness: starts workloads, asks holdup about them, compares its answer with the truth.

Ids in here are host ids. Environment: HOLDUP (the binary), BUILD (the build directory with the workloads).
"""

import datetime
import json
import os
import pwd
import select
import shutil
import subprocess
import sys
import tempfile
import time

import tap
from tap import Skip, test  # noqa: F401; tests import them from here

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
HOLDUP = os.path.abspath(os.environ.get("HOLDUP", os.path.join(BUILD, "holdup")))
WORKLOADS = os.path.join(BUILD, "tests", "workloads")
NS_PER_MS = 1000 * 1000
AGE_TOLERANCE_NS = 100 * NS_PER_MS
# A workload becomes ready in milliseconds, the largest in seconds; this is for a machine under load.
READY_SECONDS = 120

_cleanups = []


def at_end(function, *arguments):
    """Calls it when the test is over, last registered first."""
    _cleanups.append((function, arguments))


def clean_up():
    first_error = None
    while _cleanups:
        function, arguments = _cleanups.pop()
        try:
            function(*arguments)
        except Exception as error:  # pylint: disable=broad-except; the others must still run
            first_error = first_error or error
    if first_error:
        raise first_error


def main():
    if not os.access(HOLDUP, os.X_OK):
        sys.exit("%s is missing: run make, or set HOLDUP and BUILD" % HOLDUP)
    tap.main(after_each=clean_up)


def unprivileged():
    """A command that runs another one as nobody."""
    need_root()
    need_command("setpriv")
    nobody = pwd.getpwnam("nobody")
    return ("setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups")


def public_copy(path):
    """A copy that every user may run: the build may lie where only its owner may look."""
    copy = shutil.copy(path, temporary_directory())
    os.chmod(copy, 0o755)
    return copy


def temporary_directory(name="holdup-test-"):
    path = tempfile.mkdtemp(prefix=name)
    os.chmod(path, 0o755)
    at_end(shutil.rmtree, path, True)
    return path


# What the machine can do ----------------------------------------------------------------------------


def need_root():
    if os.geteuid() != 0:
        raise Skip("not root")


_bpf_failure = None


def need_bpf():
    """Skips where the task iterator cannot be had (kernel, lockdown, container): asks holdup itself."""
    global _bpf_failure  # pylint: disable=global-statement; found out once
    need_root()
    if _bpf_failure is None:
        done = subprocess.run([HOLDUP, "scan", "--json", "--source=bpf", "-p", str(os.getpid())],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        _bpf_failure = done.stderr.decode(errors="replace") if done.returncode == 1 else ""
    if _bpf_failure:
        raise Skip("no BPF snapshot here: " + _bpf_failure)


def need_command(*names):
    """Tools that the dependency step installs: where tests must run, they must be there."""
    for name in names:
        if not shutil.which(name):
            raise Skip("no " + name)


def need_device(path):
    """A device that a container may not have been given."""
    if not os.access(path, os.R_OK | os.W_OK):
        raise Skip("optional: no " + path)


def optional_command(*names):
    """Language run-times that a machine may lack."""
    for name in names:
        if not shutil.which(name):
            raise Skip("optional: no " + name)


# /proc ----------------------------------------------------------------------------------------------


def read_text(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def status_fields(pid, tid):
    """Fields of /proc/PID/task/TID/status, or None when the thread is gone."""
    try:
        text = read_text("/proc/%d/task/%d/status" % (pid, tid))
    except OSError:
        return None
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def task_ids(pid):
    try:
        return sorted(int(name) for name in os.listdir("/proc/%d/task" % pid))
    except OSError:
        return []


def children_of(pid):
    """Children of a process, theirs after them."""
    found = []
    for tid in task_ids(pid):
        try:
            words = read_text("/proc/%d/task/%d/children" % (pid, tid)).split()
        except OSError:
            continue
        for word in words:
            found += [int(word)] + children_of(int(word))
    return found


def switch_counts(pid):
    """{tid: (state, voluntary, involuntary)} of every thread."""
    counts = {}
    for tid in task_ids(pid):
        fields = status_fields(pid, tid)
        if fields:
            counts[tid] = (fields["State"].split()[0], int(fields["voluntary_ctxt_switches"]),
                           int(fields["nonvoluntary_ctxt_switches"]))
    return counts


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within %g s: %s" % (seconds, what)
        time.sleep(0.01)


# Workloads ------------------------------------------------------------------------------------------


class Workload:
    """A program that hangs, or idles, and its truth. It dies with the test."""

    def __init__(self, command, *arguments, path=None, wrap=(), environment=None, input_fd=None):
        """`wrap` is a command that starts the program, `path` another place of it than the build's."""
        self.command = [command, *arguments]
        program = path or os.path.join(WORKLOADS, command)
        assert wrap or os.path.exists(program), "%s is missing: make workloads" % program
        stdin = subprocess.DEVNULL if input_fd is None else input_fd
        self.process = subprocess.Popen([*wrap, program, *arguments], stdin=stdin, stdout=subprocess.PIPE,
                                        env=dict(os.environ, **(environment or {})), start_new_session=True)
        at_end(self.stop)
        self.truth = json.loads(self._first_line())
        ns_pid = self.truth["pid"]
        self.pid = self._host_pid(ns_pid)
        self.ns_pid = ns_pid
        self.host_tids = {}
        for tid in task_ids(self.pid):
            fields = status_fields(self.pid, tid)
            if fields:
                self.host_tids[int(fields["NSpid"].split()[-1])] = tid
        # The thread that printed the line ends right after it.
        wait_until(lambda: not any(comm == "reporter" for comm in self.comms().values()), 30, "reporter ends")

    def _first_line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        assert line, "%s did not become ready" % " ".join(self.command)
        return line

    def _host_pid(self, ns_pid):
        for pid in [self.process.pid] + children_of(self.process.pid):
            fields = status_fields(pid, pid)
            if fields and int(fields["NSpid"].split()[-1]) == ns_pid:
                return pid
        raise AssertionError("no process of %s has the id %d" % (self.command, ns_pid))

    def tid(self, label):
        """The host id of a participant; of one that is gone, the id that it had in its namespace."""
        ns_tid = self.truth["tids"][label]
        return self.host_tids.get(ns_tid, ns_tid)

    def ns_tid(self, label):
        return self.truth["tids"][label]

    def label(self, tid):
        for label in self.truth["tids"]:
            if self.tid(label) == tid:
                return label
        return None

    def fact(self, key):
        return self.truth["facts"][key]

    def comms(self):
        found = {}
        for tid in task_ids(self.pid):
            try:
                found[tid] = read_text("/proc/%d/task/%d/comm" % (self.pid, tid)).rstrip("\n")
            except OSError:
                pass
        return found

    def blocked_at_ns(self, label):
        return self.truth["blocked_at_monotonic_ns"][label]

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Kills the program, its wrapper and all their children, and waits for them."""
        for pid in children_of(self.process.pid) + [self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process.stdout.close()
        if self.pid_known():
            wait_until(lambda: not os.path.exists("/proc/%d/task" % self.pid), 60, "%d is gone" % self.pid)

    def pid_known(self):
        return hasattr(self, "pid") and self.pid != self.process.pid


# holdup ---------------------------------------------------------------------------------------------


class Answer:
    """What a holdup command said: exit status, text, and the objects of --json."""

    def __init__(self, command, status, output, errors, began_ns, ended_ns):
        self.command, self.status, self.output, self.errors = command, status, output, errors
        self.began_ns, self.ended_ns = began_ns, ended_ns
        self.objects = []

    def parse(self):
        for line in self.output.decode("utf-8").splitlines():
            self.objects.append(json.loads(line))
        assert self.objects, "%s printed nothing; stderr: %s" % (self.command, self.errors)
        for item in self.objects:
            assert item["v"] == 1, item
        assert self.objects[-1]["type"] == "summary", self.objects[-1]
        assert self.summary["findings"] == len(self.findings), self.summary
        assert self.status == (3 if self.findings else 0), (self.status, self.errors)
        return self

    def of_type(self, name):
        return [item for item in self.objects if item["type"] == name]

    @property
    def findings(self):
        return self.of_type("finding")

    @property
    def summary(self):
        return self.objects[-1]

    @property
    def process(self):
        processes = self.of_type("process")
        assert len(processes) == 1, "%d process objects" % len(processes)
        return processes[0]

    @property
    def finding(self):
        assert len(self.findings) == 1, "%d findings: %s" % (
            len(self.findings), [item["summary"] for item in self.findings])
        return self.findings[0]


def run(*arguments, timeout=120, wrap=(), environment=None, binary=HOLDUP):
    """Runs holdup, by the command `wrap` if any, and returns an Answer, not parsed."""
    command = [*wrap, binary, *[str(argument) for argument in arguments]]
    began_ns = time.monotonic_ns()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, **(environment or {})), timeout=timeout, check=False)
    return Answer(" ".join(command), done.returncode, done.stdout, done.stderr.decode(errors="replace"), began_ns,
                  time.monotonic_ns())


def ask(*arguments, **options):
    """Runs holdup with --json and returns a parsed Answer."""
    return run(*arguments, "--json", **options).parse()


class Background:
    """A holdup that runs while the test goes on; it must be started, as workloads must, by the main thread:
    who asks to die with its parent dies with the thread that started it."""

    def __init__(self, *arguments):
        self.command = [HOLDUP, *[str(argument) for argument in arguments], "--json"]
        self.began_ns = time.monotonic_ns()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.pid = self.process.pid
        self.head = b""
        at_end(self.kill)

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def first_object(self):
        """Waits for the first line of output."""
        self.head += self.process.stdout.readline()
        return json.loads(self.head)

    def finish(self, timeout=120):
        output, errors = self.process.communicate(timeout=timeout)
        return Answer(" ".join(self.command), self.process.returncode, self.head + output,
                      errors.decode(errors="replace"), self.began_ns, time.monotonic_ns()).parse()


# Findings -------------------------------------------------------------------------------------------


def time_ns(finding):
    """The finding's time on the monotonic clock."""
    moment = datetime.datetime.strptime(finding["time"], "%Y-%m-%dT%H:%M:%S.%fZ")
    moment = moment.replace(tzinfo=datetime.timezone.utc)
    realtime_ns = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
    return realtime_ns - (time.time_ns() - time.monotonic_ns())


def thread_of(item, tid):
    """The thread of a finding or process object; None when it isn't listed."""
    for thread in item["threads"]:
        if thread["tid"] == tid:
            return thread
    return None


def lock_of(item, lock_id):
    for lock in item["locks"]:
        if lock["id"] == lock_id:
            return lock
    raise AssertionError("no lock %s in %s" % (lock_id, item["locks"]))


def stack_of(item, thread):
    """A thread's frames; those of the first of its group when it is one of many alike."""
    if thread.get("same_as"):
        thread = thread_of(item, thread["same_as"])
    return thread["stack"]


def functions_of(item, thread):
    return [frame["function"] or "?" for frame in stack_of(item, thread)]


def physical_ips(stack):
    """One address a frame: functions inlined into the next frame share its."""
    return [int(frame["ip"], 16) for frame in stack if not frame["inlined"]]


def assert_in_order(wanted, names, where):
    """All of `wanted` stand in `names`, in this order; a C++ name may carry its parameters."""
    position = 0
    for want in wanted:
        while position < len(names) and names[position].split("(")[0] != want:
            position += 1
        assert position < len(names), "%s: %s is not in order in %s" % (where, wanted, names)
        position += 1


def assert_age(workload, item, label, tolerance_ns=AGE_TOLERANCE_NS):
    """The wait's age, at the time that the finding says, is that since the blocking call."""
    thread = thread_of(item, workload.tid(label))
    assert thread, "%s is not listed" % label
    said_ns = thread["waits_for"]["since_ns"] if thread["waits_for"] else thread["asleep_ns"]
    truth_ns = time_ns(item) - workload.blocked_at_ns(label)
    assert abs(said_ns - truth_ns) <= tolerance_ns, "%s waits for %d ms, holdup says %d ms" % (
        label, truth_ns // NS_PER_MS, said_ns // NS_PER_MS)


def cycle_labels(workload, finding):
    """The cycle as a set of (waiter, lock name, holder), by label; holder None: an anonymous reader."""
    steps = set()
    for step in finding["cycle"]:
        lock = lock_of(finding, step["waits_for"])
        steps.add((workload.label(step["tid"]), lock["name"] or lock["type"],
                   workload.label(step["held_by"]) if step["held_by"] else None))
    return steps


def assert_silent(answer):
    """No finding, and the exit status of none."""
    assert not answer.findings, [item["summary"] for item in answer.findings]
    assert answer.status == 0, answer.status
