import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill import __version__
from distill.cli import complain, main, parse
from distill.commands import benchmark
from distill.console import going_on_unheard, inform, progress_bar
from distill.errors import explain

VERBS = ("demo", "train", "ablate", "evaluate", "compare", "predict", "benchmark")


def start(*words):
    """A process of its own, in which nothing is imported yet."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


# ------------------------------------------------------------------------------------------------------- the surface


def test_help_lists_the_verbs_and_imports_nothing_that_takes_seconds():
    heavy = "print(*{'torch', 'timm', 'cv2', 'accelerate'} & sys.modules.keys(), file=sys.stderr)"
    shown = start(
        "-c", f"import atexit, sys; atexit.register(lambda: {heavy}); import distill.cli as c; c.main(['-h'])"
    )
    assert [verb for verb in VERBS if f"\n    {verb} " not in shown.stdout] == []
    assert (shown.returncode, shown.stderr) == (0, "\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"usage: distill {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_script_completes_every_verb_and_its_options(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as left:
        main(["--print-completion", shell])
    assert left.value.code == 0
    script = capsys.readouterr().out
    assert [word for word in [*VERBS, "all-protocols", "print-config"] if word not in script] == []


def test_the_version_is_reported(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"distill {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["c.yaml", "a.b=1", "seed=2", "--output", "o", "--resume"],
        ["c.yaml", "--output", "o", "a.b=1", "--resume", "seed=2"],
        ["--output", "o", "c.yaml", "a.b=1", "--resume", "seed=2"],
        ["c.yaml", "a.b=1", "--resume", "seed=2", "--output=o"],
        ["--resume", "--output", "o", "c.yaml", "a.b=1", "seed=2"],
    ],
)
def test_overrides_stand_anywhere_among_the_options(words):
    args = parse(["train", *words])
    assert (args.config, args.overrides, args.output, args.resume) == (
        Path("c.yaml"),
        ["a.b=1", "seed=2"],
        Path("o"),
        True,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "no command 'trian', did you mean train?"),
        (["data", "chek"], "did you mean check?"),
        (["evaluate", "m", "--data", "foldr"], "did you mean folder?"),
        (["c.yaml", "seed=1"], "no command 'c.yaml', did you mean train c.yaml?"),
        (["train", "c.yaml", "--student.pretrained=false"], "did you mean student.pretrained=false?"),
        (["train", "c.yaml", "--pretrained", "false"], "did you mean student.pretrained=false?"),
        (["ablate", "c.yaml", "--batch-size"], "did you mean train.batch_size=VALUE?"),
        ([], "the following arguments are required: COMMAND"),
        (["train"], "the following arguments are required: CONFIG.yaml"),
        (["train", "c.yaml", "--ouput", "x"], "unrecognized arguments: --ouput x, did you mean --output?"),
        (["train", "c.yaml", "--resume", "stray"], "unrecognized arguments: stray"),
        (["predict", "m", "i", "--sise=1"], "unrecognized arguments: --sise=1, did you mean --size?"),
        (["evaluate", "m", "--data", "nyu", "data.root=x"], "data.root=x, did you mean --root x?"),
        (["evaluate"], "the following arguments are required: MODEL"),
        (["evaluate", "m", "--data", "kiti"], "argument --data: invalid choice: 'kiti'"),
        (["evaluate", "m", "--data", "scenes", "--size", "big"], "expected HEIGHTxWIDTH such as 352x1216, got 'big'"),
        (["evaluate", "m", "--data", "scenes", "--size", "16x64"], "expected at least 32x32, got 16x64"),
        (["benchmark", "--size", "9999x64"], "expected at most 8192x8192, got 9999x64"),
        (["evaluate", "m", "--data", "nyu", "--prediction-scale", "0"], "expected a number above 0, got '0'"),
        (["evaluate", "m", "--data", "kitti", "--protocol", "p", "--all-protocols"], "not allowed with argument"),
    ],
)
def test_a_command_that_does_not_exist_is_refused_in_one_line(refused, words, message):
    line = refused(*words)
    assert message in line
    assert line.endswith(" --help")


def test_the_process_gives_the_code_and_the_line():
    left = start("-m", "distill", "trian")
    assert left.returncode == 2
    assert left.stderr.startswith("distill: no command 'trian', did you mean train?")
    assert left.stderr.count("\n") == 1
    assert left.stdout == ""


def test_a_configuration_that_is_absent_is_named(refused):
    assert refused("train", "absent.yaml") == "no configuration at absent.yaml; see configs/ for examples"


def test_the_runs_folder_is_named_by_the_option_the_configuration_or_its_file(config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("distill.commands.train.train_run", lambda config, output, *_: started.append(output) or output)
    for words in (["output=a", "--output", "b"], ["output=a"], []):
        assert main(["train", str(config_file), *words]) == 0
    assert started == [Path("b"), Path("a"), Path("runs/tiny")]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (PermissionError(13, "no", "secret"), 2)])
def test_an_interruption_and_a_lack_of_permission_have_their_codes(monkeypatch, capsys, error, code):
    def demo(*_):
        raise error

    monkeypatch.setattr("distill.commands.demo.demo", demo)
    assert main(["demo"]) == code
    assert "Traceback" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- the world around a command


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: tried to allocate 4800000000 bytes"),
            "4.47 GiB",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "2.00 GiB"),
        (MemoryError("Unable to allocate 1.09 TiB for an array with shape (3,)"), "1.09 TiB"),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"), "/dev/shm"),
        (OSError(12, "Cannot allocate memory"), "out of memory"),
    ],
)
def test_memory_that_runs_out_is_one_line_with_how_much_and_what_to_lower(monkeypatch, refused, error, words):
    def run(args):
        raise error

    monkeypatch.setattr(benchmark, "run", run)
    message = refused("benchmark")
    assert words in message
    assert "in distill benchmark: give a smaller --size" in message


def test_another_error_is_no_lack_of_memory(monkeypatch, refused):
    def run(args):
        raise OSError(28, "No space left on device: cannot allocate")

    monkeypatch.setattr(benchmark, "run", run)
    assert refused("benchmark").startswith("No space left on device: cannot allocate; make room")


class Gone:
    """An error output whose terminal or reader has gone, or whose disk is full."""

    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")

    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Gone(), None])
def test_a_message_that_nobody_can_read_changes_no_exit_code(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["train", "nowhere.yaml"]) == 2
    with going_on_unheard(), progress_bar("looking", 3) as update:
        inform("here")
        update(advance=1)


LISTING = """
import sys, types
from distill import cli, console
ablate = types.ModuleType("distill.commands.ablate")
ablate.options, ablate.run = lambda parser: None, lambda args: console.display("a line") or 0
sys.modules[ablate.__name__] = ablate  # the true one takes seconds to import
sys.exit(cli.main(["ablate"]))
"""


@pytest.mark.parametrize("words", [["-m", "distill", "--help"], ["-m", "distill", "--version"], ["-c", LISTING]])
def test_a_reader_that_has_its_lines_ends_a_command_quietly(words):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.returncode == 141 or (words[-1] != LISTING and ended.returncode == 0)  # argparse may take no notice
    assert not ended.stderr


# ------------------------------------------------------------------------------------------------- what the system says


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "x" * 300, "b"], "File name too long; give a shorter name"),
        (["evaluate", "x" * 300, "--data", "scenes"], "File name too long; give a shorter name"),
        (["train", "x" * 300], "File name too long"),
    ],
)
def test_what_the_system_refuses_is_a_line(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/disk/a"), ["/disk/a: No space left", "make room"]),
        (OSError(errno.EROFS, "Read-only file system", "/ro/a"), ["/ro/a: Read-only", "choose another place"]),
        (PermissionError(errno.EACCES, "Permission denied", "/root/a"), ["/root/a: Permission denied", "permissions"]),
        (OSError("no route"), ["no route"]),
        (TimeoutError(), ["TimeoutError"]),
    ],
)
def test_an_error_of_the_system_says_what_where_and_the_fix(error, words):
    assert [word for word in words if word not in explain(error)] == []


def test_a_message_is_one_line_and_controls_no_terminal(capsys):
    complain("a\n  b \x1b[2J  c")
    assert capsys.readouterr().err == "distill: a b \\x1b[2J  c\n"
