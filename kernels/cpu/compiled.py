"""Compilation by Numba, once per type of array, and kept on disk."""

import contextlib
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

_OPTIONS = dict(nopython=True, nogil=True, no_cfunc_wrapper=True)


def compiled(**options):
    """Return a decorator: machine code that lets go of the interpreter while it runs.

    Code for a chosen kind of vectors (MINICNN_SIMD) is not kept: what is kept is this processor's.

    Where neither this folder nor the user's cache can be written, it is compiled anew by every
    process, for which Numba otherwise refuses to compile at all.
    """

    def decorate(function):
        dispatcher: Any = CPUDispatcher(function, targetoptions=_OPTIONS | options)
        if not os.environ.get("MINICNN_SIMD"):
            with contextlib.suppress(RuntimeError):
                dispatcher._cache = _Cache(function)
        return dispatcher

    return decorate


def linked(**options):
    """Return a decorator: code that becomes a part of the compiled functions that call it.

    As compiled functions of their own, which Numba makes of all, the parts of a kernel would be
    optimised and translated twice: alone, for nobody, and in the kernel.
    """
    options = _OPTIONS | dict(no_cpython_wrapper=True) | options
    return lambda function: _Linked(function, targetoptions=options, pipeline_class=_Linker)


def address(dispatcher, kinds):
    """Return where the code of a compiled function for arguments of these types lies in memory."""
    dispatcher.compile(kinds)
    found = dispatcher.overloads[kinds]
    # Numba does not know the environments of parts, which their `print`, for one, looks up.
    for environment in found._find_referenced_environments():
        found.library.codegen.set_env(environment.env_name, environment)
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


class _Cache(FunctionCache):
    """Code on disk: that of this version, for these types of arguments, or none."""

    def __init__(self, function):
        super().__init__(function)
        # Numba looks at the function's own file only, and would keep code that holds an old version
        # of what it calls in another.
        file = self._cache_file
        file._source_stamp = file._source_stamp, _STAMP

    def load_overload(self, sig, target_context):
        """Return what is kept for these types.

        Where several processes fill a cache at once, Numba may put the code for some types where
        the index has that for others.
        """
        try:
            found = super().load_overload(sig, target_context)
        except _UNREADABLE:
            return None
        return found if found and found.signature.args == tuple(sig) else None

    def save_overload(self, sig, data):
        """Keep it, if the disk has room."""
        with contextlib.suppress(*_UNREADABLE):
            super().save_overload(sig, data)


class _Linked(CPUDispatcher):
    """A function that only compiled functions can call."""

    def add_overload(self, cres):
        """Keep it for them; Python is not told that it can be called."""
        self.overloads[tuple(cres.signature.args)] = cres

    def _compile_for_args(self, *arguments, **named):
        raise TypeError(
            f"{self.py_func.__name__} is part of compiled functions: Python cannot call it"
        )


class _Part(JITCodeLibrary):
    """Code that is linked into another library, and optimised as a whole and translated there.

    Function by function it is optimised here: without, Fourier's kernels took a fifth longer.
    """

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """Lowering to a part."""

    _name = "part_lowering"

    def run_pass(self, state):
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        # Callers look for the part by something that is its own, elsewhere its machine code.
        key = object()
        state.targetctx.insert_user_function(key, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=key)
        return True


class _Linker(CompilerBase):
    """Numba's compiler, but for the last steps."""

    def define_pipelines(self):
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_PartLowering if step is NativeLowering else step, text)
            for step, text in manager.passes
        ]
        manager.finalize()
        return [manager]


def cache_folder():
    """Return where the code of these files is kept, or None where no folder can be written.

    The code for a chosen kind of vectors is not kept, wherever that is.
    """
    try:
        return Path(_Cache(cache_folder).cache_path)
    except RuntimeError:
        return None


def _stamp():
    """Return what tells this version of all files in this folder from any other."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()
_UNREADABLE = OSError, EOFError, pickle.UnpicklingError
