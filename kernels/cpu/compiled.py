"""Compilation by Numba, once per type of array, and kept on disk."""

import hashlib
import os
from pathlib import Path

from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering


def compiled(**options):
    """Return a decorator: machine code that lets go of the interpreter while it runs.

    Code for a chosen kind of vectors (MINICNN_SIMD) is not kept: what is kept is this processor's.

    Where neither this folder nor the user's cache can be written, it is compiled anew by every
    process, for which Numba otherwise refuses to compile at all.
    """
    options |= dict(nogil=True, no_cfunc_wrapper=True)

    def decorate(function):
        kept = not os.environ.get("MINICNN_SIMD")
        try:
            dispatcher = njit(cache=kept, **options)(function)
        except RuntimeError:
            return njit(**options)(function)
        if kept:
            # Numba looks at the function's own file only, and would keep code that holds an old
            # version of what it calls in another.
            file = dispatcher._cache._cache_file
            file._source_stamp = file._source_stamp, _STAMP
        return dispatcher

    return decorate


def linked(**options):
    """Return a decorator: code that becomes a part of the compiled functions that call it.

    As compiled functions of their own, which Numba makes of all, the parts of a kernel would be
    optimised and translated twice: alone, for nobody, and in the kernel.
    """
    options |= dict(nopython=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return lambda function: _Linked(function, targetoptions=options, pipeline_class=_Linker)


def address(dispatcher, kinds):
    """Return where the code of a compiled function for arguments of these types lies in memory."""
    dispatcher.compile(kinds)
    found = dispatcher.overloads[kinds]
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


class _Linked(CPUDispatcher):
    """A function that only compiled functions can call."""

    def add_overload(self, cres):
        """Keep it for them; Python is not told that it can be called."""
        self.overloads[tuple(cres.signature.args)] = cres

    def _compile_for_args(self, *arguments, **named):
        raise TypeError(f"{self.__name__} is part of compiled functions: Python cannot call it")


class _Part(JITCodeLibrary):
    """Code that is neither optimised nor translated before it is linked into another library."""

    def _optimize_functions(self, module):
        pass

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


def _stamp():
    """Return what tells this version of all files in this folder from any other."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found = path.stat()
        digest.update(f"{path.name} {found.st_mtime_ns} {found.st_size}\n".encode())
    return digest.hexdigest()


_STAMP = _stamp()
