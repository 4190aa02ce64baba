"""How an experiment begins and ends: its options, its folder, Ctrl-C, and the line of figures.

A script that learns something is a function `main`, whose keyword arguments are the options of the
command line. Those that most scripts have are named here, with what `--help` says of them::

    from minicnn.experiment import Epochs, Out, Resume, Seed, begin, command_line

    def main(*, epochs: Epochs = 5, seed: Seed = 0, out: Out = None, resume: Resume = False):
        run = begin("onset", out, seed=seed, resume=resume)
        ...
        mc.fit(..., checkpoint=run.folder, resume=resume)
        return run.finish(model, {"f_measure": 0.97}, {"spectral flux": 0.6}, picture="onsets.png")

    if __name__ == "__main__":
        command_line(main)

What a script imports below this room: if it is a library of an extra, and missing, the script ends
with one line that says what to install.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from minicnn.checkpoint import written_whole
from minicnn.kernels import NoGPUError
from minicnn.kernels.threads import set_num_threads
from minicnn.nn.module import Module
from minicnn.rng import manual_seed

# The extras that bring a library.
_EXTRAS = {"mirdata": "data"} | dict.fromkeys(
    ("librosa", "matplotlib", "mir_eval", "PIL", "sklearn", "soundfile", "soxr", "tyro"), "examples"
)

Epochs = Annotated[int, "how many times the training data are seen"]
Seed = Annotated[int, "what weights, batches and everything generated follow from"]
Device = Annotated[Literal["cpu", "cuda"], "what computes"]
Threads = Annotated[int | None, "how many threads compute; all cores by default"]
Data = Annotated[str | None, "a folder with labels.csv, or mirdata:NAME:FOLDER; none: generated"]
Soundfont = Annotated[
    tuple[str, ...], "a bank that plays what is generated; of two, the second plays the test"
]
Out = Annotated[Path | None, "where pictures, log and checkpoints go; by default below runs/"]
Resume = Annotated[bool, "go on with the run in --out"]
Quick = Annotated[bool, "a small version, which ends within 15 s"]


@dataclass(frozen=True)
class Run:
    """A run of an experiment, from `begin`.

    Attributes
    ----------
    name : str
    folder : Path
        For everything that it writes.
    started : float
        When, on the clock of `time.perf_counter` [s].
    """

    name: str
    folder: Path
    started: float = field(default_factory=time.perf_counter)

    def finish(
        self,
        model: Module | None,
        metrics: Mapping[str, float],
        baselines: Mapping[str, float] | None = None,
        *,
        picture: str,
        **more: Any,
    ) -> dict[str, Any]:
        """Print the figures as one line of JSON, keep them in `results.json`, and return them.

        Parameters
        ----------
        model : Module or None
            Whose parameters are counted.
        metrics : mapping from name to number
            How well it did; NaN, where there is no number, becomes null.
        baselines : mapping from name to number, optional
            How well others did, by their names.
        picture : str
            Of all that were drawn, the file that says most.
        **more
            What else there is to say.

        Returns
        -------
        dict
            example, metrics, baselines, more, picture, parameters and seconds, in this order.
        """
        figures = {
            "example": self.name,
            "metrics": _rounded(metrics),
            "baselines": _rounded(baselines or {}),
            **more,
            "picture": picture,
            "parameters": sum(each.size for each in model.parameters()) if model else 0,
            "seconds": round(time.perf_counter() - self.started, 1),
        }
        line = json.dumps(figures)
        with written_whole(self.folder / "results.json") as temporary:
            temporary.write_text(line + "\n")
        print(f"pictures and figures: {self.folder}")
        print(line, flush=True)
        return figures


def _rounded(values):
    """Return numbers to four places, and None for what JSON has no number for."""
    return {
        name: round(float(value), 4) if math.isfinite(value) else None
        for name, value in values.items()
    }


def begin(
    name: str,
    out: Path | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
    resume: bool = False,
) -> Run:
    """Begin a run: set the seed and the number of threads, and make its folder.

    Parameters
    ----------
    name : str
        Of the script.
    out : Path, optional
        The folder; by default a new one, `runs/<name>/<date>`.
    seed : int
    threads : int, optional
        By default all cores.
    resume : bool
        Whether it goes on in a folder that is there.

    Raises
    ------
    FileNotFoundError
        If there is nothing to resume.
    """
    if resume and (out is None or not Path(out).is_dir()):
        raise FileNotFoundError(
            "resume takes the folder of a run as out, and there is none"
            + ("" if out is None else f" at {str(out)!r}")
        )
    folder = _folder(name) if out is None else Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    manual_seed(seed)
    if threads is not None:
        set_num_threads(threads)
    return Run(name, folder)


def command_line(main: Callable[..., Any], arguments: Sequence[str] | None = None) -> Any:
    """Run `main` with the options of the command line, which are its keyword arguments.

    Ctrl-C ends it with how to go on. Errors of files and values, missing libraries and a missing
    GPU are said in one line; `python -X dev` shows where they come from.

    Parameters
    ----------
    main : callable
        Its arguments are annotated; `Annotated[type, "text"]` says what an option is. Those that
        are not keyword-only have no name on the command line, only a place. What the help begins
        with is the docstring of its module.
    arguments : sequence of str, optional
        By default those of this process.

    Returns
    -------
    What `main` returns.
    """
    name = Path(inspect.getfile(main)).stem
    options: dict[str, Any] = {}
    try:
        options = _options(main, arguments)
        if "out" in options and options["out"] is None and not options.get("resume"):
            options["out"] = _folder(name)
        return main(**options)
    except KeyboardInterrupt:
        sys.exit(f"\n{name}: interrupted; {_how_to_go_on(options, arguments)}")
    except ModuleNotFoundError as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(f"{name}: {_what_to_install(error) or error}")
    except (OSError, ValueError, NoGPUError) as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(f"{name}: {error}")


def _options(main, arguments):
    """Return the keyword arguments that a command line stands for."""
    try:
        tyro = importlib.import_module("tyro")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the command line needs tyro, which is not installed: pip install "minicnn[examples]"'
        ) from None
    hints = get_type_hints(main, include_extras=True)
    fields = []
    for option in inspect.signature(main).parameters.values():
        hint = hints[option.name]
        if get_origin(hint) is Annotated:
            kind, text = get_args(hint)
            hint = Annotated[kind, tyro.conf.arg(help=text, metavar=_metavar(option, kind))]
        if option.kind is not option.KEYWORD_ONLY:
            hint = tyro.conf.Positional[hint]
        fields.append((option.name, hint, field(default=option.default)))
    about = inspect.getdoc(inspect.getmodule(main))
    given = tyro.cli(
        make_dataclass("Options", fields),
        args=arguments,
        prog=f"python {sys.argv[0]}",
        description=about,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return vars(given)


def _metavar(option, kind):
    """Return what stands for a value in the help: by default None, which leaves it to tyro."""
    if option.kind is not option.KEYWORD_ONLY:
        name = option.name.upper()
        return name if option.default is option.empty else f"[{name}]"
    names = [each.__name__.upper() for each in get_args(kind) if isinstance(each, type)]
    return names[0] if NoneType in get_args(kind) and len(names) == 2 else None


def _what_to_install(error):
    """Return what to do about a module that is missing, or None if it is no extra's."""
    if "pip install" in str(error):  # it says so itself
        return str(error)
    library = (error.name or "").partition(".")[0]
    if library not in _EXTRAS:
        return None
    return f'{library} is not installed: pip install "minicnn[{_EXTRAS[library]}]"'


def _end_in_one_line(otherwise):
    """Return what Python is to do about an error that nobody caught, before `main` has begun."""

    def say(kind, error, traceback):
        advice = _what_to_install(error) if isinstance(error, ModuleNotFoundError) else None
        if advice and not sys.flags.dev_mode:
            print(f"{Path(sys.argv[0]).stem}: {advice}", file=sys.stderr)
        else:
            otherwise(kind, error, traceback)

    return say


def _folder(name):
    return Path("runs", name, time.strftime("%Y-%m-%d_%H-%M-%S"))


def _how_to_go_on(options, arguments):
    """Return how an interrupted run is resumed, if it has begun to train."""
    folder = options.get("out")
    if folder is None or not any(folder.rglob("last.safetensors")):
        return "nothing was trained yet"
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    if "--resume" not in given:
        given.append("--resume")
    if not any(each.partition("=")[0] == "--out" for each in given):
        given += ["--out", str(folder)]
    return f"go on with: {shlex.join(['python', sys.argv[0], *given])}"


sys.excepthook = _end_in_one_line(sys.excepthook)
