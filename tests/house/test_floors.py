# SPDX-License-Identifier: Apache-2.0
"""The house's floors hold, and a violation would be seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import floors

SOURCE_DIR = Path(os.environ["LATENTD_SOURCE_DIR"])

# A tree that is in order, one file for each floor.
GOOD = {
    "include/latentd/types.h": "#include <stdint.h>\n",
    "proto/tensor.h": '#include "latentd/types.h"\n',
    "proto/tensor.c": '#include <string.h>\n#include "tensor.h"\n',
    "client/client.c": '#include <latentd/types.h>\n#include "tensor.h"\n',
    "endpoint/decode.c": '#include "base/log.h"\n#include "tensor.h"\n',
    "examples/producer.c": "#include <latentd/types.h>\n",
    "daemon/base/log.h": "",
    "daemon/base/log.c": '#include "log.h"\n',
    "daemon/job.h": '#include "tensor.h"\n',
    "daemon/endpoint.h": '#include "job.h"\n',
    "daemon/queue.h": '#include "job.h"\n',
    "daemon/queue.c": '#include "queue.h"\n#include "base/log.h"\n',
    "daemon/finish.h": "",
    "daemon/finish_png.c": '#include "finish.h"\n#include <uv.h>\n',
    "daemon/dispatch.h": '#include "queue.h"\n',
    "daemon/pipeline.h": '#include "dispatch.h"\n#include "finish.h"\n',
    "daemon/main.c": '#include "pipeline.h"\n',
}

PLANTED = [
    ("include/latentd/types.h", '#include "../../proto/tensor.h"'),
    ("include/latentd/types.h", "#include <nng/nng.h>"),
    ("proto/tensor.c", '#include "base/log.h"'),
    ("proto/tensor.c", "#include <uv.h>"),
    ("proto/tensor.c", "#include <pthread.h>"),
    ("client/client.c", '#include "base/log.h"'),
    ("client/client.c", '#include "job.h"'),
    ("endpoint/decode.c", '#include "job.h"'),
    ("examples/producer.c", '#include "tensor.h"'),
    ("daemon/base/log.c", '#include "job.h"'),
    ("daemon/base/log.c", '#include "../queue.h"'),
    ("daemon/job.h", '#include "queue.h"'),
    ("daemon/job.h", '#include "endpoint.h"'),
    ("daemon/queue.c", '# include  "finish.h"'),
    ("daemon/finish_png.c", '#include "queue.h"'),
    ("daemon/queue.c", '#include "dispatch.h"'),
    ("daemon/dispatch.h", '#include "pipeline.h"'),
    ("daemon/queue.c", '#include "no_such_file.h"'),
    ("daemon/newcomer.c", "#include <stdio.h>"),
]


@pytest.fixture
def tree(tmp_path):
    for name, text in GOOD.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_project_keeps_its_floors():
    assert floors.violations(SOURCE_DIR) == []


def test_a_tree_in_order_has_no_violation(tree):
    assert floors.violations(tree) == []


@pytest.mark.parametrize("name, line", PLANTED)
def test_a_planted_violation_is_found(tree, name, line):
    path = tree / name
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}{line}\n")
    found = floors.violations(tree)
    assert len(found) == 1
    assert found[0].startswith(f"{name}:{before.count(chr(10)) + 1}:")


def test_an_empty_tree_is_a_violation(tmp_path):
    assert floors.violations(tmp_path) != []


def test_the_program_fails_on_a_violation(tree):
    command = [sys.executable, floors.__file__, str(tree)]
    assert subprocess.run(command, check=False).returncode == 0
    (tree / "daemon/queue.c").write_text('#include "finish.h"\n')
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert b"daemon/queue.c:1: daemon/queue may not include" in done.stdout
