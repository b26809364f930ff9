# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs whose files or ids are not what the host sees: namespaces, deleted and replaced binaries."""

import os
import pwd
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (HOLDUP, WORKLOADS, Skip, Workload, ask, functions_of, main, need_bpf, need_command,  # noqa: E402
                  public_copy, run, stack_of, status_fields, temporary_directory, test, thread_of, unprivileged)
from verdict import Expect, every_stack_is_named, libc_path  # noqa: E402

ABBA = Expect("deadlock", "certain", cycle={("dl-a", "m2", "dl-b"), ("dl-b", "m1", "dl-a")},
              locks={"m1": ("mutex", "dl-a"), "m2": ("mutex", "dl-b")},
              functions={"dl-a": ("transfer", "worker"), "dl-b": ("transfer", "worker")})


def diagnose(workload):
    time.sleep(0.3)
    answer = ask("why", workload.pid, "--min-wait=200ms")
    ABBA.check(workload, answer.finding)
    every_stack_is_named(answer.finding)
    for label in ("dl-a", "dl-b"):
        names = functions_of(answer.finding, thread_of(answer.finding, workload.tid(label)))
        assert "pthread_mutex_lock" in [name.lstrip("_") for name in names], (label, names)
    return answer.finding


def own_copy(*libraries):
    """A directory with a copy of abba, and of the libraries, that can be deleted or replaced."""
    directory = temporary_directory()
    shutil.copy(os.path.join(WORKLOADS, "abba"), directory)
    for library in libraries:
        shutil.copy(library, directory)
    return directory, os.path.join(directory, "abba")


def need_namespaces(*flags):
    """unshare, with these namespaces: the kernel gives no user namespace to a process whose root is no mount,
    and such a root cannot be kept from sharing its mounts."""
    need_command("unshare")
    done = subprocess.run(["unshare", *flags, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          check=False)
    if not done.returncode:
        return
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        in_chroot = all(line.split()[4] != "/" for line in mounts)
    raise Skip("%sunshare %s: %s" % ("optional: in a chroot: " if in_chroot else "", " ".join(flags),
                                     done.stdout.decode(errors="replace")))


@test("pid, mount and user namespaces: ids of the host and of the namespace, symbols of files seen only inside")
def _():
    need_bpf()
    flags = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
    need_namespaces(*flags)
    directory = temporary_directory()
    # The program's path leads to nothing on the host.
    script = 'mount -t tmpfs none "$1" && cp "$2" "$1/app" && exec "$1/app"'
    workload = Workload("abba", wrap=("unshare", *flags, "sh", "-c", script, "sh", directory))
    assert workload.ns_pid != workload.pid
    assert not os.path.exists(os.path.join(directory, "app"))
    finding = diagnose(workload)
    assert finding["process"]["exe"] == os.path.join(directory, "app"), finding["process"]
    for label in ("dl-a", "dl-b"):
        thread = thread_of(finding, workload.tid(label))
        assert thread["ns_tid"] == workload.ns_tid(label), thread
        assert thread["tid"] != thread["ns_tid"]


@test("a mount namespace whose file at the program's path is not the host's")
def _():
    need_bpf()
    need_namespaces("--mount")
    directory = temporary_directory()
    shutil.copy(os.path.join(WORKLOADS, "philosophers"), os.path.join(directory, "app"))
    script = 'mount -t tmpfs none "$1" && cp "$2" "$1/app" && exec "$1/app"'
    workload = Workload("abba", wrap=("unshare", "--mount", "sh", "-c", script, "sh", directory))
    diagnose(workload)


@test("the binary was deleted")
def _():
    need_bpf()
    directory, program = own_copy()
    workload = Workload("abba", path=program)
    os.unlink(program)
    os.rmdir(directory)
    finding = diagnose(workload)
    assert finding["process"]["exe_deleted"] is True, finding["process"]
    assert finding["process"]["exe"] == program, finding["process"]


@test("the binary was replaced by another program")
def _():
    need_bpf()
    directory, program = own_copy()
    workload = Workload("abba", path=program)
    shutil.copy(os.path.join(WORKLOADS, "philosophers"), os.path.join(directory, "new"))
    os.rename(os.path.join(directory, "new"), program)
    diagnose(workload)


@test("the C library was deleted, or replaced (an upgrade while the program runs)")
def _():
    need_bpf()
    for replacement in (None, os.path.join(WORKLOADS, "dso", "libhop_000.so")):
        directory, program = own_copy(libc_path())
        workload = Workload("abba", path=program, environment={"LD_LIBRARY_PATH": directory})
        libc = os.path.join(directory, os.path.basename(libc_path()))
        with open("/proc/%d/maps" % workload.pid, encoding="utf-8") as maps:
            assert libc in maps.read(), "the copy is not in use"
        os.unlink(libc)
        if replacement:
            shutil.copy(replacement, libc)
        finding = diagnose(workload)
        thread = thread_of(finding, workload.tid("dl-a"))
        modules = {frame["module"] for frame in stack_of(finding, thread)}
        assert libc in modules, modules


@test("a shared object that was overwritten in place with garbage: the verdict stands, the other frames too")
def _():
    need_bpf()
    directory = temporary_directory()
    shutil.copy(os.path.join(WORKLOADS, "hundred_dso"), directory)
    shutil.copytree(os.path.join(WORKLOADS, "dso"), os.path.join(directory, "dso"))
    workload = Workload("hundred_dso", path=os.path.join(directory, "hundred_dso"))
    for index, garbage in ((40, b"\x7fELF" + b"\xff" * 60), (50, os.urandom(64 * 1024)), (60, b"")):
        path = os.path.join(directory, "dso", "libhop_%03d.so" % index)
        size = os.path.getsize(path)
        with open(path, "r+b") as file:
            # Keep the size: a page beyond the end would be a fault of the program's, not of ours.
            file.write(garbage[:size].ljust(size, b"\xff" if garbage else b"\0"))
    time.sleep(0.3)
    answer = ask("why", workload.pid, "--min-wait=200ms")
    Expect("deadlock", "certain", cycle={("dl-a", "m2", "dl-b"), ("dl-b", "m1", "dl-a")},
           functions={"dl-a": ("transfer", "hop_099", "hop_061"), "dl-b": ("transfer", "hop_099", "hop_061")}
           ).check(workload, answer.finding)


@test("a process of another user, seen by root")
def _():
    need_bpf()
    workload = Workload("abba", path=public_copy(os.path.join(WORKLOADS, "abba")), wrap=unprivileged())
    uid = str(pwd.getpwnam("nobody").pw_uid)
    assert status_fields(workload.pid, workload.pid)["Uid"].split()[0] == uid
    diagnose(workload)


@test("the process's own user gets the verdict from /proc, and is told what is reduced")
def _():
    drop = unprivileged()
    workload = Workload("abba", path=public_copy(os.path.join(WORKLOADS, "abba")), wrap=drop)
    time.sleep(0.3)
    answer = run("why", workload.pid, "--min-wait=200ms", "--json", wrap=drop, binary=public_copy(HOLDUP)).parse()
    assert answer.finding["kind"] == "deadlock", answer.finding
    assert answer.summary["self"]["source"] == "procfs", answer.summary
    assert answer.summary["notes"], "not told that the service is reduced"


main()
