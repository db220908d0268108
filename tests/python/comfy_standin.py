# SPDX-License-Identifier: Apache-2.0
"""ComfyUI as its nodes see it: the modules that they import, and an executor
that checks, orders, caches and calls them as comfy_execution does.

    comfy = Comfy(output_dir)
    done = comfy.run(prompt)             # a graph in API format
    done["7"]                            # what node "7" gave: a list of values
                                         # for each output

Errors come as NodeError, with what ComfyUI's window shows.
"""

import importlib.util
import json
import re
import sys
import threading
import types
from pathlib import Path

import comfy_nodes
import processes
import tiny_torch

PACKAGE = Path(__file__).resolve().parents[2] / "client/comfyui"


class InterruptProcessingException(BaseException):
    """Of BaseException, as in newer versions of ComfyUI."""


class ExecutionBlocker:
    def __init__(self, message):
        self.message = message


class NodeError(Exception):
    """A node that failed, or a graph that is wrong."""

    def __init__(self, node_id, message, kind=None):
        super().__init__(f"{node_id}: {message}")
        self.node_id, self.message, self.kind = node_id, message, kind


class Interrupted(Exception):
    """The user pressed the button."""


class Hub:
    """The state of ComfyUI's modules."""

    def __init__(self, output_dir):
        self.output_dir = Path(output_dir)
        self.interrupt = threading.Event()
        self.checks = threading.Semaphore(0)  # one for each look at it
        self.bars = []

    def check(self):
        self.checks.release()
        if self.interrupt.is_set():
            self.interrupt.clear()
            raise InterruptProcessingException

    def save_path(self, prefix, output_dir, width=0, height=0):
        """folder_paths.get_save_image_path()."""
        subfolder, _, name = prefix.rpartition("/")
        folder = Path(output_dir) / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(found[1]) for path in folder.iterdir() if (
            found := re.match(re.escape(name) + r"_(\d+)_", path.name))]
        return (str(folder), name, max(numbers, default=0) + 1, subfolder,
                prefix)


def _bar_class(hub):
    class ProgressBar:
        def __init__(self, total, node_id=None):
            self.total, self.values = total, []
            hub.bars.append(self)

        def update_absolute(self, value, total=None, preview=None):
            self.total = self.total if total is None else total
            self.values.append(value)

    return ProgressBar


def install(hub):
    """Put the modules into sys.modules; returns their names."""
    torch = tiny_torch.install()
    modules = {name: types.ModuleType(name) for name in (
        "comfy", "comfy.model_management", "comfy.utils", "comfy.cli_args",
        "folder_paths", "comfy_execution", "comfy_execution.graph")}
    management = modules["comfy.model_management"]
    management.InterruptProcessingException = InterruptProcessingException
    management.throw_exception_if_processing_interrupted = hub.check
    management.intermediate_device = lambda: torch.device("cpu")
    modules["comfy.utils"].ProgressBar = _bar_class(hub)
    modules["comfy.cli_args"].args = types.SimpleNamespace(
        disable_metadata=False)
    paths = modules["folder_paths"]
    paths.get_output_directory = lambda: str(hub.output_dir)
    paths.get_save_image_path = hub.save_path
    modules["comfy_execution.graph"].ExecutionBlocker = ExecutionBlocker
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
    return list(modules)


def load_package(path=PACKAGE):
    """As ComfyUI imports a folder of custom_nodes."""
    name = str(path).replace(".", "_x_")
    for old in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[old]
    spec = importlib.util.spec_from_file_location(
        name, path / "__init__.py", submodule_search_locations=[str(path)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def is_link(value):
    return isinstance(value, list) and len(value) == 2 and \
        isinstance(value[0], str)


def declared(kind, group):
    return kind.INPUT_TYPES().get(group, {})


def inputs_of(kind):
    return {**declared(kind, "required"), **declared(kind, "optional")}


class Comfy:
    """One server: its nodes, their cache, and one queue."""

    def __init__(self, output_dir):
        self.hub = Hub(output_dir)
        self.modules = install(self.hub)
        self.package = load_package()
        self.nodes = comfy_nodes.builtin(self.hub)
        self.nodes.update(self.package.NODE_CLASS_MAPPINGS)
        self.cache = {}
        self.calls = []  # (node id, class) of what was really called

    def close(self):
        """Disconnect, and leave no stand-in behind."""
        self.service().disconnect()
        for name in [*self.modules, self.package.__name__]:
            sys.modules.pop(name, None)
        tiny_torch.remove()

    def interrupt(self):
        self.hub.interrupt.set()

    def service(self):
        """The package's module of that name."""
        return sys.modules[self.package.__name__ + ".service"]

    def jobs(self):
        return sys.modules[self.package.__name__ + ".jobs"]

    def wait_saved(self):
        """Until the saving thread has nothing to do any more."""
        processes.wait_until(self.jobs().saver.idle, "all is saved")

    def run(self, prompt, extra=None):
        """Execute a graph; a dictionary of outputs by node."""
        for node_id in prompt:
            self._validate(prompt, node_id)
        run = _Run(self, prompt, extra)
        for node_id, node in prompt.items():
            if getattr(self.nodes[node["class_type"]], "OUTPUT_NODE", False):
                run.output(node_id)
        return run.outputs

    # ---- checks, as execution.validate_inputs() has them ----

    def _validate(self, prompt, node_id):
        node = prompt[node_id]
        kind = self.nodes[node["class_type"]]
        given = node["inputs"]
        for name in declared(kind, "required"):
            if name not in given:
                raise NodeError(node_id, f"Required input is missing: {name}")
        checked = getattr(kind, "VALIDATE_INPUTS", None)
        own = () if checked is None else \
            checked.__func__.__code__.co_varnames[
                1:checked.__func__.__code__.co_argcount]
        constants = {}
        for name, value in given.items():
            wanted = inputs_of(kind)[name]
            if is_link(value):
                source = self.nodes[prompt[value[0]]["class_type"]]
                if source.RETURN_TYPES[value[1]] != wanted[0]:
                    raise NodeError(node_id, "Return type mismatch: " + name)
                if name in own:
                    constants[name] = None
            elif name in own:
                constants[name] = value
            else:
                self._validate_value(node_id, name, value, wanted)
        if checked is not None:
            said = checked(**constants)
            if said is not True:
                raise NodeError(node_id, f"Custom validation failed: {said}")

    def _validate_value(self, node_id, name, value, wanted):
        if isinstance(wanted[0], list):
            if value not in wanted[0]:
                raise NodeError(
                    node_id, f"Value not in list: {name}: {value!r}")
            return
        kind = {"INT": int, "FLOAT": (int, float), "STRING": str,
                "BOOLEAN": bool}[wanted[0]]
        if not isinstance(value, kind):
            raise NodeError(node_id, f"Failed to convert: {name}")


class _Run:
    """One execution of one graph."""

    def __init__(self, comfy, prompt, extra):
        self.comfy, self.prompt, self.extra = comfy, prompt, extra
        self.outputs = {}

    def signature(self, node_id):
        """Equal when the node would give the same again."""
        node = self.prompt[node_id]
        kind = self.comfy.nodes[node["class_type"]]
        values = [node_id, node["class_type"]]
        if hasattr(kind, "IS_CHANGED"):
            values.append(kind.IS_CHANGED(**{
                name: value for name, value in node["inputs"].items()
                if not is_link(value)}))
        for name, value in sorted(node["inputs"].items()):
            values.append((name, (self.signature(value[0]), value[1])
                           if is_link(value) else value))
        return tuple(values)

    def output(self, node_id):
        if node_id not in self.outputs:
            signature = self.signature(node_id)
            # An IS_CHANGED of NaN is not even equal to itself.
            key = next((k for k in self.comfy.cache if k == signature and
                        "nan" not in repr(k)), None)
            if key is None:
                self.comfy.cache[signature] = self._execute(node_id)
                key = signature
            self.outputs[node_id] = self.comfy.cache[key]
        return self.outputs[node_id]

    def _inputs(self, node_id, kind):
        """Lists of values by name."""
        values = {}
        for name, value in self.prompt[node_id]["inputs"].items():
            values[name] = self.output(value[0])[value[1]] \
                if is_link(value) else [value]
        hidden = {"PROMPT": self.prompt, "EXTRA_PNGINFO": self.extra,
                  "UNIQUE_ID": node_id}
        for name, what in declared(kind, "hidden").items():
            values[name] = [hidden[what]]
        return values

    def _execute(self, node_id):
        kind = self.comfy.nodes[self.prompt[node_id]["class_type"]]
        values = self._inputs(node_id, kind)
        n = max([len(each) for each in values.values()], default=1)
        rounds = [{name: each[i if len(each) > i else -1]
                   for name, each in values.items()} for i in range(n)]
        results = [self._call(node_id, kind, one) for one in rounds]
        is_list = getattr(kind, "OUTPUT_IS_LIST",
                          (False,) * len(kind.RETURN_TYPES))
        outputs = []
        for i, listed in enumerate(is_list):
            slots = [result[i] for result in results]
            outputs.append(sum(slots, []) if listed else slots)
        return outputs

    def _call(self, node_id, kind, values):
        blocked = [v for v in values.values()
                   if isinstance(v, ExecutionBlocker)]
        if blocked:
            return blocked[:1] * len(kind.RETURN_TYPES)
        self.comfy.calls.append((node_id, kind.__name__))
        try:
            self.comfy.hub.check()
            result = getattr(kind(), kind.FUNCTION)(**values)
        except InterruptProcessingException:
            raise Interrupted from None
        except Exception as error:
            raise NodeError(node_id, str(error),
                            type(error).__name__) from error
        if isinstance(result, dict):
            result = result.get("result", ())
        assert len(result) == len(kind.RETURN_TYPES)
        return result


def prompt_of(workflow, nodes):
    """A graph as the editor saves it, in API format: widgets' values go to the
    inputs that are no links, in their order."""
    links = {one[0]: one for one in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        kind = nodes[node["type"]]
        linked = {slot["name"]: links[slot["link"]]
                  for slot in node.get("inputs", []) if slot["link"]}
        inputs = {name: [str(link[1]), link[2]]
                  for name, link in linked.items()}
        widgets = iter(node.get("widgets_values", []))
        for name, wanted in inputs_of(kind).items():
            if not isinstance(wanted[0], list) and wanted[0] not in (
                    "INT", "FLOAT", "STRING", "BOOLEAN"):
                continue
            inputs[name] = next(widgets)
            if len(wanted) > 1 and wanted[1].get("control_after_generate"):
                next(widgets)
        assert list(widgets) == [], node["type"]
        prompt[str(node["id"])] = {"class_type": node["type"],
                                   "inputs": inputs}
    return prompt


def load_workflow(name, nodes):
    return prompt_of(json.loads(
        (PACKAGE / "example_workflows" / name).read_text()), nodes)
