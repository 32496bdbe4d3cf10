"""tools/setup.sh without root, over stand-ins for Debian's programs that know nothing and write down what is asked."""
import os
import pathlib
import shutil
import subprocess

from conftest import ROOT

STANDINS = {
    "id": "echo 1000",
    "dpkg-query": "exit 1",
    # dpkg -x FILE FOLDER; what the link points at is installed
    "dpkg": 'mkdir -p "$3/usr/bin" "$3/$LIBRARIES"; cd "$3/$LIBRARIES"; ln -sf libc.so.6 libit.so; touch libthat.so.1',
    "apt-get": """case " $* " in
        *" --print-uris "*) for name in "${@:8}"; do echo "'http://x/$name.deb' ${name}_1_all.deb 1 SHA256:0"; done ;;
        *) for name in "${@:5}"; do echo "$name" >>"$ASKED"; touch "${name}_1_all.deb"; done ;;
    esac""",
}


def test_what_is_unpacked_is_there_and_what_is_not_comes_later(tmp_path):
    """`make demo`, then `make test`: the second brings what tests need besides, a third time nothing."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup.sh", tmp_path / "tools")
    for folder, programs in ("bin", STANDINS), ("build/venv/bin", {"pip": ":", "python": ":"}):
        (tmp_path / folder).mkdir(parents=True)
        for name, body in programs.items():
            (tmp_path / folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (tmp_path / folder / name).chmod(0o755)
    asked = tmp_path / "asked"
    libraries = "usr/lib/" + subprocess.run(["gcc", "-dumpmachine"], capture_output=True, text=True).stdout.strip()
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SHIM": "fake", "ASKED": str(asked),
           "LIBRARIES": libraries}
    brought = []
    for what in "build", "test", "test":
        asked.write_text("")
        subprocess.run([tmp_path / "tools/setup.sh", what], check=True, env=env, capture_output=True, timeout=60)
        brought.append(set(asked.read_text().split()))
    assert "libzstd-dev" in brought[0] and "libcmocka-dev" not in brought[0]
    assert "libcmocka-dev" in brought[1] and not brought[1] & brought[0] and not brought[2]
    installed = pathlib.Path("/", libraries, "libc.so.6")
    assert (tmp_path / "build/deps" / libraries / "libit.so").resolve() == installed.resolve()
    assert (tmp_path / "build/deps/usr/lib/libthat.so.1").exists()  # where Open MPI 5 lets its ranks look
