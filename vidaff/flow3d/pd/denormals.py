"""Flush denormal floats to zero inside a numba kernel: below 1e-38 an iteration takes 2-4 times as long.

x86 only (the MXCSR register); elsewhere both functions do nothing.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vidaff.flow3d.pd.compiling import PLAIN_PYTHON, kernel

FLUSH = 0x8040
"""Bits FTZ and DAZ of MXCSR."""
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def _call(builder: Any, name: str, slot: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(ir.VoidType(), [pointer]))
    builder.call(function, [builder.bitcast(slot, pointer)])


def _in_kernels(define: Any) -> Any:
    """``define`` as a numba intrinsic; a stub that gives 0 where kernels run as plain Python."""
    return (lambda *arguments: 0) if PLAIN_PYTHON else intrinsic(define)


@_in_kernels
def _read(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _IS_X86:
            return ir.Constant(ir.IntType(32), 0)
        slot = builder.alloca(ir.IntType(32))
        _call(builder, "llvm.x86.sse.stmxcsr", slot)
        return builder.load(slot)

    return types.uint32(), generate


@_in_kernels
def _write(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _IS_X86:
            slot = builder.alloca(ir.IntType(32))
            builder.store(arguments[0], slot)
            _call(builder, "llvm.x86.sse.ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.uint32), generate


@kernel
def flush_denormals() -> Any:
    """Switch flushing on for this thread; return what :func:`restore_denormals` needs."""
    old: Any = _read()
    _write(types.uint32(old | FLUSH))
    return old


@kernel
def restore_denormals(old: Any) -> None:
    """Undo :func:`flush_denormals`."""
    _write(types.uint32(old))
