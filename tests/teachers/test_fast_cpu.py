import copy
import gc

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from teachers import fast_cpu
from teachers.fast_cpu import FastConv2d, FastLinear, use_fast_layers
from teachers.stem import SameConv2d, StandardisedConv2d


@pytest.fixture(autouse=True)
def _small_layers_gain(monkeypatch):
    monkeypatch.setattr(fast_cpu, "MIN_CHANNELS", 4)
    fast_cpu.PREPARED.clear()


def convolution():
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 24, 24)


def linear():
    torch.manual_seed(0)
    return nn.Linear(5, 7), torch.randn(2, 3, 5)


LAYERS = pytest.mark.parametrize("make", [convolution, linear])


def fast(layer):
    return use_fast_layers(nn.Sequential(copy.deepcopy(layer).requires_grad_(False)))[0]


@LAYERS
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_those_of_the_plain_layer(make, bias):
    layer, x = make()
    layer.bias = layer.bias if bias else None
    with torch.no_grad():
        assert_close(fast(layer)(x), layer(x), rtol=1e-5, atol=1e-5)
        assert_close(fast(layer)(x[0]), layer(x[0]), rtol=1e-5, atol=1e-5)
    assert len(fast_cpu.PREPARED) == 0  # nothing is kept of layers that are gone


def test_a_linear_layer_takes_any_leading_shape():
    layer, _ = linear()
    with torch.no_grad():
        for shape in [(5,), (1, 5), (0, 5), (2, 3, 4, 5)]:
            x = torch.ones(shape)
            assert_close(fast(layer)(x), layer(x))
        x = torch.randn(5, 4).t()
        assert_close(fast(layer)(x), layer(x))


@LAYERS
def test_a_weight_is_prepared_once_and_again_after_it_has_changed(make):
    layer, x = make()
    module = fast(layer)
    with torch.no_grad():
        module(x)
        kept = fast_cpu.PREPARED[module.weight]
        module(x)
        assert fast_cpu.PREPARED[module.weight] is kept
        module.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})
        assert_close(module(x), 2 * layer(x), rtol=1e-5, atol=1e-5)
        module.weight.data = layer.weight.data.clone()
        module.bias.data = layer.bias.data
        assert_close(module(x), layer(x), rtol=1e-5, atol=1e-5)


@LAYERS
def test_weights_made_in_inference_mode_serve(make):
    with torch.inference_mode():
        layer, x = make()
        assert_close(fast(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


@LAYERS
def test_what_was_prepared_is_no_part_of_the_network(make, tmp_path):
    layer, x = make()
    module = fast(layer)
    with torch.no_grad():
        module(x)
        assert module.state_dict().keys() == layer.state_dict().keys()
        assert not list(module.buffers())
        assert torch.equal(copy.deepcopy(module)(x), module(x))
        torch.save(module, tmp_path / "layer.pt")
        assert torch.equal(torch.load(tmp_path / "layer.pt", weights_only=False)(x), module(x))
    assert copy.deepcopy(module).to("meta")(x.to("meta")).shape == layer(x).shape
    del module
    gc.collect()
    assert len(fast_cpu.PREPARED) == 0


@LAYERS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_computed_by_the_plain_layer(make, dtype):
    layer, x = make()
    with torch.no_grad():
        assert torch.equal(fast(layer.to(dtype))(x.to(dtype)), layer(x.to(dtype)))
    layer, x = make()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(layer)(x), layer(x))
    assert len(fast_cpu.PREPARED) == 0


@LAYERS
def test_gradients_are_those_of_the_plain_layer(make):
    layer, x = make()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    fast(layer)(ours).square().sum().backward()
    layer(theirs).square().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@LAYERS
def test_counters_see_the_plain_operation(make):
    layer, x = make()
    counts = []
    for module in (layer, fast(layer)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@LAYERS
@pytest.mark.filterwarnings("ignore")  # of the tracer: deprecated, and shapes become constants
def test_exports_hold_the_plain_operation(make):
    layer, x = make()
    module = fast(layer)
    with torch.no_grad():
        program = torch.export.export(module, (x,))
        traced = torch.jit.trace(module, x, check_trace=False)
    wanted = "conv2d" if make is convolution else "linear"
    assert [str(node.target) for node in program.graph.nodes if node.op == "call_function"] == [
        f"aten.{wanted}.default"
    ]
    assert wanted in str(traced.graph) or "convolution" in str(traced.graph)
    assert "mkldnn" not in str(traced.graph)


def test_a_map_of_few_tiles_is_convolved_directly():
    layer, x = convolution()
    with torch.no_grad():
        assert torch.equal(fast(layer)(x[..., :20]), layer(x[..., :20]))


def test_only_what_gains_is_replaced():
    others = {
        "narrow": nn.Conv2d(4, 3, 3, padding=1),
        "pointwise": nn.Conv2d(4, 8, 1),
        "strided": nn.Conv2d(4, 8, 3, stride=2, padding=1),
        "unpadded": nn.Conv2d(4, 8, 3),
        "dilated": nn.Conv2d(4, 8, 3, padding=2, dilation=2),
        "grouped": nn.Conv2d(4, 8, 3, padding=1, groups=2),
        "reflected": nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"),
        "same": SameConv2d(4, 8, 3, stride=2),
        "of another class": StandardisedConv2d(4, 8, 3),
    }
    kinds = {name: type(module) for name, module in others.items()}
    inner = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), SameConv2d(4, 8, 3), nn.Linear(2, 2))
    use_fast_layers(nn.ModuleDict({"inner": inner, **others}))
    assert [type(module) for module in inner] == [FastConv2d, FastConv2d, FastLinear]
    assert {name: type(module) for name, module in others.items()} == kinds
