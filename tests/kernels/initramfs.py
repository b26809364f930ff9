# SPDX-License-Identifier: GPL-2.0-or-later
"""Packs the machine that is booted: holdup, its tests and workloads, python3 and busybox, and an /init.

The archive is the kernel's own "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import os
import re
import shlex
import stat
import subprocess

TRAILER = "TRAILER!!!"
ALIGNMENT = 4
# Of python's library, what tests can't want: half of its size.
PYTHON_LEFT_OUT = {"test", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data", "unittest",
                   "distutils", "asyncio", "sqlite3", "dist-packages", "curses", "dbm", "wsgiref", "xmlrpc",
                   "multiprocessing", "email", "http", "xml"}
LIBRARY = re.compile(r"(?:^|=> )(/\S+) \(0x")
# The program's loader, which stands near the beginning of a program and which a musl ldd would not tell.
LOADER = re.compile(rb"/lib[^\0]*/ld-[^\0]+")
LOADER_WITHIN_BYTES = 8192


def libraries_of(program):
    """The shared objects that the loader maps for a program, and the loader; none for a static one."""
    with open(program, "rb") as file:
        loader = LOADER.search(file.read(LOADER_WITHIN_BYTES))
    if not loader:
        return set()
    done = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    listed = (LIBRARY.search(line.strip()) for line in done.stdout.decode().splitlines())
    return {loader.group().decode()} | {found.group(1) for found in listed if found}


class Initramfs:
    """Files under the names that they will have. Every directory above a file is made."""

    def __init__(self):
        self.entries = {}

    def add_directory(self, name, mode=0o755):
        name = name.strip("/")
        if name and name not in self.entries:
            self.add_directory(os.path.dirname(name))
            self.entries[name] = (stat.S_IFDIR | mode, 0, b"")

    def add_bytes(self, name, data, mode=0o644, time_s=0):
        self.add_directory(os.path.dirname(name))
        self.entries[name.strip("/")] = (stat.S_IFREG | mode, time_s, data)

    def add_file(self, path, name=None):
        """A file keeps its time: python compares it with that in its compiled modules."""
        with open(path, "rb") as file:
            data = file.read()
        status = os.stat(path)
        self.add_bytes(name or path, data, stat.S_IMODE(status.st_mode), int(status.st_mtime))

    def add_program(self, path, name=None):
        """A program with the shared objects that it is linked with."""
        self.add_file(path, name)
        for library in sorted(libraries_of(path)):
            self.add_file(library)

    def add_link(self, name, target):
        self.add_directory(os.path.dirname(name))
        self.entries[name.strip("/")] = (stat.S_IFLNK | 0o777, 0, target.encode())

    def add_tree(self, path, name=None, left_out=()):
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(set(folders) - set(left_out))
            for file in sorted(files):
                source = os.path.join(folder, file)
                self.add_file(source, os.path.join(name or path, os.path.relpath(source, path)))

    def add_console(self):
        """The kernel opens it for /init before anything is mounted."""
        self.add_directory("dev")
        self.entries["dev/console"] = (stat.S_IFCHR | 0o600, 0, b"")

    def write(self, path):
        with open(path, "wb") as out:
            for inode, (name, entry) in enumerate(self.entries.items(), 1):
                write_entry(out, inode, name, *entry)
            write_entry(out, 0, TRAILER, 0, 0, b"")


def write_entry(out, inode, name, mode, time_s, data):
    """c_magic, c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, maj, min, rmaj, rmin, namesize, check."""
    name_bytes = name.encode() + b"\0"
    device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
    fields = (inode, mode, 0, 0, 1, time_s, len(data), 0, 0, *device, len(name_bytes), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    for part in (header + name_bytes, data):
        out.write(part + b"\0" * (-len(part) % ALIGNMENT))


def python_library():
    done = subprocess.run(["/usr/bin/python3", "-c", "import os; print(os.__file__)"], stdout=subprocess.PIPE,
                          check=True)
    return os.path.dirname(done.stdout.decode().strip())


def pack(root, build, path):
    """Writes the archive: the checkout's tests in /holdup, what was built of it where it was built."""
    image = Initramfs()
    image.add_console()
    for folder in ("proc", "sys", "tmp", "run", "usr/sbin", "sbin"):
        image.add_directory(folder)
    image.add_file(os.path.join(root, "tests", "kernels", "init"), "init")
    image.add_program("/bin/busybox")
    for name in ("sh", "mount"):
        image.add_link("bin/" + name, "busybox")
    image.add_bytes("etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    image.add_bytes("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    # A program may name its libraries relative to where it was built.
    image.add_directory(root)
    image.add_bytes("etc/holdup", ("cd %s; export BUILD=%s HOLDUP=%s\n" % tuple(
        shlex.quote(path) for path in (root, build, os.path.join(build, "holdup")))).encode())
    python = os.path.realpath("/usr/bin/python3")
    image.add_program(python)
    image.add_link("usr/bin/python3", os.path.basename(python))
    image.add_tree(python_library(), left_out=PYTHON_LEFT_OUT)
    image.add_program("/usr/bin/setpriv")
    image.add_program(os.path.join(build, "holdup"))
    workloads = os.path.join(build, "tests", "workloads")
    image.add_tree(workloads)
    for name in sorted(os.listdir(workloads)):
        program = os.path.join(workloads, name)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            image.add_program(program)
    for folder in ("harness", "live", "kernels"):
        image.add_tree(os.path.join(root, "tests", folder), "/holdup/tests/" + folder, left_out={"__pycache__"})
    image.write(path)
