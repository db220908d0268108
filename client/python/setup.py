# SPDX-License-Identifier: Apache-2.0
"""A wheel with liblatentd inside: the one that $LATENTD_BUNDLE names, else the
one that ./dev build made in the checkout around this.

pyproject.toml has everything else.  Such a wheel is for the machine that built
it and its kind (the library needs the system's nng and msgpack-c).  Without
such a library, or with an empty variable, the wheel is pure Python and finds
the library on the system.
"""

import os
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel


def built():
    """The library of the checkout that this lies in; "" if there is none."""
    root = Path(__file__).resolve().parents[2]
    library = root / "build/release/lib/liblatentd.so.0"
    in_checkout = (root / "include/latentd/client.h").exists()
    return str(library) if in_checkout and library.exists() else ""


BUNDLE = os.environ.get("LATENTD_BUNDLE", built())


class Bundling(build_py):
    """Copies the library beside the modules."""

    def run(self):
        super().run()
        # An editable package lies in the checkout and finds it there.
        if BUNDLE and not getattr(self, "editable_mode", False):
            target = Path(self.build_lib, "latentd/liblatentd.so.0")
            shutil.copyfile(BUNDLE, target)
            target.chmod(0o755)


class WithLibrary(Distribution):
    """Not pure when the library is inside."""

    def has_ext_modules(self):
        return bool(BUNDLE)


class AnyPython(bdist_wheel):
    """The library is not Python's: one wheel for all versions."""

    def get_tag(self):
        tag = super().get_tag()
        return ("py3", "none", tag[2]) if BUNDLE else tag


setup(
    distclass=WithLibrary,
    cmdclass={"build_py": Bundling, "bdist_wheel": AnyPython},
)
