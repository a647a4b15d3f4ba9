"""A directory for ``-L`` that shows the linker the C and C++ libraries of the wheel's platform.

A library can be loaded where each symbol that it needs is there, in the version that it needs. The
linker takes the newest version that it sees. So it is shown stubs without code, which hold what the
libraries of this machine say they have had since then, and nothing newer. Compiler, flags and
objects stay those of every other build.

What GCC's headers use that is newer is linked in, and hidden: functions of libstdc++ from its
archive, and newer_than_glibc.c. All else is that of the libstdc++ which is loaded: exceptions cross
from our libraries to torch's, and a whole copy would count them by itself.
"""

from __future__ import annotations

import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from symbols import Symbol, needed_libraries, symbols, version_number

C_LIBRARY, CXX_LIBRARY = "libc.so.6", "libstdc++.so.6"
LIBRARIES = (C_LIBRARY, CXX_LIBRARY, "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1")

# where functions were that libc.so.6 took over since, each in a version of its own
MOVED = {
    "libpthread.so.0": ("pthread_", "sem_", "cnd_", "mtx_", "thrd_", "tss_", "call_once"),
    "libdl.so.2": ("dl",),
    "librt.so.1": ("aio_", "lio_", "mq_", "shm_", "timer_"),
}

SECTIONS = {"OBJECT": ".data", "TLS": '.section .tdata, "awT"'}  # all others are functions
TYPES = {"OBJECT": "object", "TLS": "tls_object"}


def make(directory: Path, cxx: str) -> str:
    """Fills the directory; the LDFLAGS that use it."""
    directory.mkdir(parents=True, exist_ok=True)

    def path_of(name: str) -> str:
        command = [cxx, f"-print-file-name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def compiled(*arguments: str) -> None:
        subprocess.run([cxx, *arguments], cwd=directory, check=True)

    loader = next(n for n in needed_libraries(path_of(C_LIBRARY)) if n.startswith("ld-linux"))
    stubs: dict[str, list[Symbol]] = defaultdict(list)
    for name in (*LIBRARIES, loader):
        for symbol, has_newer in old_symbols(path_of(name)):
            moved = has_newer and name == C_LIBRARY
            stubs[former_home(symbol.name) if moved else name].append(symbol)
    for name, held in stubs.items():
        source, versions = directory / f"{name}.s", directory / f"{name}.map"
        source.write_text("".join(map(assembly, held)))
        versions.write_text(version_script(held))
        flags = f"-shared -nostdlib -Wl,-soname,{name} -Wl,--version-script={versions.name}"
        compiled(*flags.split(), "-o", name, source.name)
        (directory / f"{name.partition('.so')[0]}.so").write_text(f"INPUT({name})\n")

    newer = Path(__file__).with_name("newer_than_glibc.c")
    compiled("-x", "c", "-fPIC", "-O2", "-c", str(newer), "-o", "newer.o")
    archives = [path_of(name) for name in ("libc_nonshared.a", "libstdc++.a")]
    (directory / "libc.so").write_text(
        f"GROUP({C_LIBRARY} newer.o {archives[0]} AS_NEEDED({loader}))\n"
    )
    (directory / "libstdc++.so").write_text(f"GROUP({CXX_LIBRARY} {archives[1]})\n")
    hidden = "-Wl,--exclude-libs,libstdc++.a:libc_nonshared.a"
    return f"-L{shlex.quote(str(directory))} {hidden} -Wl,--strip-all"


def old_symbols(library: str) -> Iterator[tuple[Symbol, bool]]:
    """What the platform's library has of this one, each in its newest version there.

    The second value says whether it has a newer version here.
    """
    versions: dict[str, list[Symbol]] = defaultdict(list)
    newer = set()
    for symbol in symbols(library):
        if symbol.defined and symbol.version:
            if version_number(symbol.version) is None:
                newer.add(symbol.name)
            else:
                versions[symbol.name].append(symbol)
    for name, held in versions.items():
        yield max(held, key=lambda each: version_number(each.version) or ()), name in newer


def former_home(name: str) -> str:
    return next((library for library, names in MOVED.items() if name.startswith(names)), C_LIBRARY)


def assembly(symbol: Symbol) -> str:
    section = SECTIONS.get(symbol.kind, ".text")
    kind = TYPES.get(symbol.kind, "function")
    name = symbol.name
    return (
        f'{section}\n.globl {name}\n.type {name}, "{kind}"\n'
        f".size {name}, {symbol.size}\n{name}: .zero {symbol.size if kind != 'function' else 1}\n"
    )


def version_script(held: list[Symbol]) -> str:
    nodes: dict[str, list[str]] = defaultdict(list)
    for symbol in held:
        nodes[symbol.version].append(symbol.name)
    return "".join(
        f"{version} {{ global: {' '.join(f'{name};' for name in names)} }};\n"
        for version, names in nodes.items()
    )
