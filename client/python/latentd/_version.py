# SPDX-License-Identifier: Apache-2.0
"""The version of the package; that of include/latentd/version.h."""

__version__ = "0.1.0"
