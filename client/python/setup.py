# SPDX-License-Identifier: Apache-2.0
"""A wheel with liblatentd inside, where $LATENTD_BUNDLE names the library.

pyproject.toml has everything else.  Such a wheel is for the machine that built
it and its kind (the library needs the system's nng and msgpack-c); without the
variable it is pure Python and finds the library on the system.
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

BUNDLE = os.environ.get("LATENTD_BUNDLE")


class Bundling(build_py):
    """Copies the library beside the modules."""

    def run(self):
        super().run()
        if BUNDLE:
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
