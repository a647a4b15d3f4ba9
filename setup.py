"""The product build: metadata is in pyproject.toml, here is how the libraries are made.

    intp_ext/_C.so        CPU operators, always; no Python symbol, loaded by torch.ops.load_library
    intp_ext/_C_cuda.so   CUDA operators, where nvcc was found
    intp_ext/_info.*.so   build_info(), a pybind11 module, for each Python

What a file of csrc/ becomes is said by its folder: all of ``cuda/`` goes to _C_cuda, ``info/`` to
_info, the rest to _C; of ``cpu/``, ``*kernel.cpp`` is compiled once for each instruction set.

Environment: INTP_EXT_CUDA=auto|0|1, CUDA_HOME, TORCH_CUDA_ARCH_LIST, CXX, LDFLAGS, MAX_JOBS; and
for a wheel that is to run elsewhere, set by cmake/wheels/make_wheels.py: INTP_EXT_PYTHONS (paths of
interpreters, with colons; default: this one) and INTP_EXT_WHEEL (the platform of its name).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
# what CMakeLists.txt and the tests read too
FACTS = json.loads((CSRC / "build_facts.json").read_text())
OLDEST_TORCH = FACTS["oldest_torch"]


def cpu_targets(machine: str) -> dict[str, list[str]]:
    """The compiler flags of each target of a machine: its own, and those of the targets before."""
    targets: dict[str, list[str]] = {}
    flags: list[str] = []
    for target in FACTS["cpu_targets"]:
        if target["machine"] in ("any", machine):
            flags = [*flags, *target["flags"].split()]
            targets[target["name"]] = flags
    return targets


# the torch libraries that hold the symbols; named here, found in the running process
CPU_NEEDS = ["torch_cpu"]
CUDA_NEEDS = ["torch_cpu", "torch_cuda"]


def say(message: str) -> None:
    print(f"intp-ext: {message}", file=sys.stderr)


def find_torch() -> Path | None:
    """The package directory of a torch whose headers can be used. Never imports it."""
    spec = importlib.util.find_spec("torch")
    candidates = [Path(spec.origin).parent] if spec and spec.origin else []
    # pip's isolated build hides the user's packages, but not where they are
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    packages += site.getsitepackages([sys.prefix, sys.base_prefix])
    candidates += [Path(directory) / "torch" for directory in packages]
    for torch in candidates:
        if (torch / "include/torch/csrc/stable/library.h").exists():
            return torch
    return None


def torch_facts(torch: Path) -> tuple[str, str | None]:
    """(version, CUDA version or None) as torch/version.py states them."""
    text = (torch / "version.py").read_text()
    version = re.search(r"^__version__[^=]*=\s*'([^']+)'", text, re.M)
    cuda = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.M)
    return version.group(1) if version else "unknown", cuda.group(1) if cuda else None


def find_nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        nvcc = Path(home) / "bin/nvcc"
        return str(nvcc) if nvcc.exists() else None
    default = Path("/usr/local/cuda/bin/nvcc")
    return shutil.which("nvcc") or (str(default) if default.exists() else None)


def decide_cuda(torch_cuda: str | None) -> tuple[str | None, str]:
    """(nvcc or None for no CUDA library, the reason)."""
    wanted = os.environ.get("INTP_EXT_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"intp-ext: INTP_EXT_CUDA: expected auto, 0 or 1, got {wanted!r}")
    nvcc = find_nvcc()
    if wanted == "0":
        return None, "INTP_EXT_CUDA=0"
    if wanted == "1":
        if nvcc is None:
            where = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "PATH"
            raise SystemExit(f"intp-ext: INTP_EXT_CUDA=1, but there is no nvcc in {where}")
        return nvcc, "INTP_EXT_CUDA=1"
    if nvcc is None:
        return None, "no nvcc was found"
    if torch_cuda is None:
        return None, "torch is a CPU build"
    return nvcc, f"nvcc was found and torch is built for CUDA {torch_cuda}"


def gencode_flags(arch_list: str) -> list[str]:
    """nvcc flags for "8.0 9.0a 8.6+PTX" or with semicolons, as in TORCH_CUDA_ARCH_LIST."""
    flags = []
    for arch in re.split(r"[;\s]+", arch_list.strip()):
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", arch)
        if match is None:
            raise SystemExit(
                f"intp-ext: TORCH_CUDA_ARCH_LIST: expected like 8.0 or 9.0a+PTX, got {arch!r}"
            )
        number = "".join(match.group(1, 2, 3))
        # "8.0 8.0+PTX" must not ask for the same machine code twice
        for code in [f"sm_{number}"] + ([f"compute_{number}"] if match.group(4) else []):
            flag = f"-gencode=arch=compute_{number},code={code}"
            if flag not in flags:
                flags.append(flag)
    return flags


def output_of(*command: str) -> str | None:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def machine_of(cxx: str) -> str:
    """x86_64, aarch64, ...: what the compiler compiles for."""
    target = output_of(*shlex.split(cxx), "-dumpmachine")
    return target.partition("-")[0] if target else platform.machine()


@dataclass(frozen=True)
class Python:
    """An interpreter that _info is built for."""

    version: str
    include: str
    suffix: str

    @classmethod
    def at(cls, path: str, machine: str) -> Python:
        """Its headers serve a build for another machine, too, where both have 64 bits."""
        facts = output_of(
            path, "-c", "import json, platform as p, sysconfig as s; print(json.dumps(["
            "p.python_version(), s.get_path('include'), s.get_config_var('EXT_SUFFIX')]))",
        )  # fmt: skip
        if facts is None:
            raise SystemExit(f"intp-ext: INTP_EXT_PYTHONS: {path} is no Python that runs")
        version, include, suffix = json.loads(facts)
        return cls(version, include, suffix.replace(platform.machine(), machine))


def git_commit() -> str | None:
    """The commit of this tree, "+changes" where it differs; None outside a checkout of our own."""
    if not (ROOT / ".git").exists():
        return None
    commit = output_of("git", "rev-parse", "HEAD")
    changed = output_of("git", "status", "--porcelain", "csrc", "intp_ext", "setup.py")
    return f"{commit}+changes" if commit and changed else commit


def quoted(path: str | Path) -> str:
    """For the shell that ninja starts: the tree may lie in a path with a space."""
    return shlex.quote(str(path))


class NinjaFile:
    """build.ninja, in the making."""

    def __init__(self) -> None:
        self.text = (
            "ninja_required_version = 1.3\n"
            "rule compile\n  command = $cxx $flags -MD -MF $out.d -c $in -o $out\n"
            "  depfile = $out.d\n  deps = gcc\n  description = compile $out\n"
            "rule link\n  command = $cxx -shared $flags -o $out $in $libraries\n"
            "  description = link $out\n"
            "rule stub\n  command = $cxx -shared -Wl,-soname,$soname -o $out -x c++ /dev/null\n"
            "  description = stub $out\n"
        )

    def build(
        self, rule: str, out: str, inputs: list[str], needs: tuple[str, ...] = (), **variables: str
    ) -> str:
        escaped = [re.sub(r"([ :$])", r"$\1", path) for path in inputs]
        after = f" | {' '.join(needs)}" if needs else ""
        self.text += f"build {out}: {rule} {' '.join(escaped)}{after}\n"
        self.text += "".join(f"  {name} = {value}\n" for name, value in variables.items())
        return out


class BuildExtensions(build_ext):
    """Writes build.ninja, lets ninja bring it up to date, copies the libraries into the package."""

    def run(self) -> None:
        torch = find_torch()
        if torch is None:
            raise SystemExit(
                f"intp-ext: no torch headers were found; install torch>={OLDEST_TORCH} first"
            )
        work = ROOT / self.build_temp
        work.mkdir(parents=True, exist_ok=True)
        version, torch_cuda = torch_facts(torch)
        nvcc, reason = decide_cuda(torch_cuda)
        arch_list = os.environ.get("TORCH_CUDA_ARCH_LIST") or FACTS["cuda_architectures"]
        cxx = os.environ.get("CXX", "g++")
        machine = machine_of(cxx)
        targets = cpu_targets(machine)
        paths = os.environ.get("INTP_EXT_PYTHONS", sys.executable).split(os.pathsep)
        pythons = [Python.at(path, machine) for path in paths]
        config = {
            "version": self.distribution.get_version(),
            "commit": git_commit(),
            "wheel": os.environ.get("INTP_EXT_WHEEL"),
            "python": ", ".join(python.version for python in pythons),
            "compiler": (output_of(cxx, "--version") or cxx).splitlines()[0],
            "torch_headers": version,
            "torch_needed": f">={OLDEST_TORCH}",
            "cpu_levels": list(targets),
            "cuda": nvcc is not None,
            "cuda_reason": reason,
            "cuda_arch_list": arch_list if nvcc else None,
            "nvcc": (output_of(nvcc, "--version") or nvcc).splitlines()[-2] if nvcc else None,
        }
        library = f"the CUDA library for {arch_list}" if nvcc else "no CUDA library"
        say(f"building the CPU library and {library} ({reason}), headers of torch {version}")

        self._write_config(work, config)
        gencode = gencode_flags(arch_list)
        built = self._write_ninja(work, torch, pythons, cxx, targets, nvcc, gencode)
        self._run_ninja(work)
        target = Path(self.get_ext_fullpath("intp_ext._info")).parent
        target.mkdir(parents=True, exist_ok=True)
        (target / "_C_cuda.so").unlink(missing_ok=True)  # of an earlier build with CUDA
        for name in built:
            self.copy_file(str(work / name), str(target / name))

    @staticmethod
    def _write_config(work: Path, config: dict) -> None:
        text = (
            '#include "info/build_config.h"\n\n'
            f'const char* const intp::kBuildConfig = R"json({json.dumps(config)})json";\n'
        )
        path = work / "build_config.cpp"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    @staticmethod
    def _write_ninja(
        work: Path,
        torch: Path,
        pythons: list[Python],
        cxx: str,
        targets: dict[str, list[str]],
        nvcc: str | None,
        gencode: list[str],
    ) -> list[str]:
        ninja = NinjaFile()
        # -isystem: no warnings from headers that are not ours
        abi = FACTS["torch_stable_abi"]
        torch_flags = f"-isystem {quoted(torch / 'include')} -DTORCH_TARGET_VERSION={abi}"
        common = f"-O3 -std=c++17 -I{quoted(CSRC)} -DNDEBUG"
        nameless = quoted(f"-ffile-prefix-map={ROOT}/=")
        gcc = f"-fPIC -fvisibility=hidden -Wall -Wextra {nameless}"

        def object_of(path: Path, variant: str = "") -> str:
            base = CSRC if path.is_relative_to(CSRC) else work
            return Path("objects", variant, path.relative_to(base).with_suffix(".o")).as_posix()

        def objects(
            paths: list[Path], flags: str, compiler: str = cxx, variant: str = ""
        ) -> list[str]:
            return [
                ninja.build(
                    "compile", object_of(path, variant), [str(path)], cxx=compiler, flags=flags
                )
                for path in paths
            ]

        def link(name: str, inputs: list[str], needs: list[str], libraries: str = "") -> str:
            stubs = tuple(f"stubs/lib{need}.so" for need in needs)
            libraries = " ".join(
                ["-Wl,--no-as-needed", *stubs, "-Wl,--as-needed", libraries]
                if stubs
                else [libraries]
            )
            flags = f"-fPIC {os.environ.get('LDFLAGS', '')}"
            return ninja.build(
                "link", name, inputs, needs=stubs, cxx=cxx, flags=flags, libraries=libraries
            )

        for need in CUDA_NEEDS:
            ninja.build("stub", f"stubs/lib{need}.so", [], cxx=cxx, soname=f"lib{need}.so")

        sources = sorted(CSRC.rglob("*.cpp"))
        info = [path for path in sources if path.parent.name == "info"]
        kernels = [path for path in sources if path.match("cpu/*kernel.cpp")]
        cuda = [path for path in sources if path.match("cuda/*.cpp")]
        cpu = [path for path in sources if path not in {*info, *kernels, *cuda}]

        cpu_objects = objects(cpu, f"{common} {gcc} {torch_flags}")
        for target, flags in targets.items():
            target_flags = " ".join([common, gcc, f"-DINTP_CPU_TARGET={target}", *flags])
            cpu_objects += objects(kernels, target_flags, variant=target)
        built = [link("_C.so", cpu_objects, CPU_NEEDS)]

        if nvcc:
            home = Path(os.path.realpath(nvcc)).parent.parent
            home = Path(os.environ.get("CUDA_HOME") or home)
            runtime_flags = f"-isystem {quoted(home / 'include')}"
            cuda_objects = objects(cuda, f"{common} {gcc} {torch_flags} {runtime_flags}")
            # quoted twice: nvcc starts its compiler by a shell of its own
            host = (quoted(f"-Xcompiler={quoted(flag)}") for flag in shlex.split(gcc))
            nvcc_flags = " ".join([common, *gencode, *host])
            cuda_objects += objects(sorted(CSRC.rglob("*.cu")), nvcc_flags, compiler=quoted(nvcc))
            runtime = f"-L{quoted(home / 'lib64')} -lcudart_static -ldl -lrt -lpthread"
            built.append(link("_C_cuda.so", cuda_objects, CUDA_NEEDS, runtime))

        import pybind11  # a build requirement; not there yet when requirements are asked for

        plain = f"{common} {gcc}"
        facts = [*objects([work / "build_config.cpp"], plain), object_of(CSRC / "cpu/target.cpp")]
        for python in pythons:
            include = (python.include, pybind11.get_include())
            flags = " ".join([plain, *(f"-isystem {quoted(directory)}" for directory in include)])
            module = objects(info, flags, variant=f"python{python.version}")
            built.append(link(f"_info{python.suffix}", [*module, *facts], []))

        (work / "build.ninja").write_text(ninja.text)
        return built

    @staticmethod
    def _run_ninja(work: Path) -> None:
        command = [sys.executable, "-m", "ninja"]
        if importlib.util.find_spec("ninja") is None:
            command = ["ninja"]
        if os.environ.get("MAX_JOBS"):
            command += ["-j", os.environ["MAX_JOBS"]]
        subprocess.run(command, cwd=work, check=True)


class Build(build):
    """A file that has left the source must not reach the wheel from an earlier build."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class Wheel(bdist_wheel):
    """For any Python, since it has an _info for each, where it is said to run elsewhere."""

    def get_tag(self) -> tuple[str, str, str]:
        elsewhere = os.environ.get("INTP_EXT_WHEEL")
        return ("py3", "none", elsewhere) if elsewhere else super().get_tag()


def torch_requirement() -> list[str]:
    """Nothing where a torch can be seen. pip asks before an isolated build."""
    by_pip = "setuptools.build_meta" in sys.modules
    if find_torch() is not None or not by_pip:  # by hand, setuptools itself would download one
        return []
    say("no installed torch was found: asking pip for one to take the headers from")
    return [f"torch>={OLDEST_TORCH}"]


setup(
    version=FACTS["version"],
    packages=[*find_packages(include=["intp_ext*"]), *find_packages("python")],
    package_data={"": ["py.typed", "*.pyi"], "intp_video": ["small_model/*", "app/page.*s"]},
    ext_modules=[Extension("intp_ext._info", [])],
    cmdclass={"bdist_wheel": Wheel, "build": Build, "build_ext": BuildExtensions},
    setup_requires=torch_requirement(),
    zip_safe=False,
)
