"""What a filter sees, on the slides "Convolution Mechanics" and "Sub-Sampling (or Pooling)".

Nothing is learned here; every number is computed by minicnn. `convolution.png` has the slide's 3x3
filters without and with padding and stride, as drawn by Dumoulin & Visin, "A guide to convolution
arithmetic for deep learning", 2016. `pooling.png` has the slide's 4x4 numbers in all four kinds of
pooling, and `receptive_fields.png` how much of its image one output sees, layer by layer.

    python examples/conv_arithmetic.py
"""

import minicnn as mc
from minicnn import experiment, models, ops, plot
from minicnn.autograd import observe
from minicnn.receptive_field import ReceptiveFields

import numpy as np
from matplotlib.patches import Rectangle

FILTER = np.ones((1, 1, 3, 3), np.float32)
CONVOLUTIONS = ((4, 0, 1), (5, 0, 2), (5, 1, 1), (5, 1, 2))  # size of the input, padding, stride
POOLED = np.array([[1, 5, 2, 4], [2, 3, 9, 1], [5, 3, 3, 4], [7, 8, 2, 2]], np.float32)
SLIDE = [[5, 9], [8, 4]]  # what the slide's max pooling makes of it
POOLINGS = {
    "maximum": ops.max_pool2d,
    "average": ops.avg_pool2d,
    "power average, p = 2": lambda x, size: ops.lp_pool2d(x, 2, size),
    "standard deviation": ops.std_pool2d,
}
PALE = np.array([["#fbd3b0", "#c3dbf0"], ["#cfe8c6", "#dccdec"]])
WINDOWS = ("Conv2d", "MaxPool2d", "Inception")  # layers behind which more is seen
# Fields do not depend on the number of channels: with an eighth of them, models are built at once.
NETWORKS = {"lenet5": dict(variant="modern")}
NETWORKS |= {name: dict(width=1 / 8) for name in ("alexnet", "vgg16", "googlenet", "resnet34")}


def main(*, out: experiment.Out = None, quick: experiment.Quick = False) -> dict:
    """Compute, draw; return the figures that are printed at the end."""
    run = experiment.begin("conv_arithmetic", out)
    drawn = plot.figure(11, 6)
    by_formula = [*map(draw_convolution, drawn.subplots(1, len(CONVOLUTIONS)), CONVOLUTIONS)]
    drawn.suptitle(
        "3x3 filters: inputs, below them outputs, and in one colour what an output sees; dashed: "
        "padding.\nIn an input: how many outputs see it. In an output: how many inputs it sees.",
        fontsize=11,
    )
    plot.save(drawn, run.folder / "convolution.png")

    pooled = {name: pool(POOLED[None, None], 2).numpy()[0, 0] for name, pool in POOLINGS.items()}
    plot.save(draw_pooling(pooled), run.folder / "pooling.png")

    growth = {name: fields(name, *WINDOWS) for name in [*NETWORKS][: 3 if quick else None]}
    print(mc.summary(models.lenet5()))
    plot.save(draw_growth(growth), run.folder / "receptive_fields.png")
    return run.finish(
        None,
        {
            "convolutions, sizes as by the formula": sum(by_formula),
            "max pooling, numbers as on the slide": (pooled["maximum"] == SLIDE).sum(),
            **{f"{name}, field [pixels]": each[-1] for name, each in growth.items()},
        },
        picture="convolution.png",
    )


def draw_convolution(axes, setting):
    """Draw what outputs of a convolution see; return whether its size is that of the formula."""
    size, padding, stride = setting
    x = mc.Tensor(np.ones((1, 1, size, size), np.float32), requires_grad=True)
    followed = ReceptiveFields(x)
    with observe(followed):
        y = ops.conv2d(x, FILTER, padding=padding, stride=stride)
    y.sum().backward()  # a filter of ones: the gradient counts the outputs that see an input
    grid(axes, np.pad(x.grad[0, 0], padding), -padding, -padding, dashed=padding)
    width = y.shape[-1]
    left, top = (size - width) / 2, size + padding + 0.8
    grid(axes, y.numpy()[0, 0], left, top)
    rows, columns = followed.of(y).values()
    for place, colour in ((0, "C0"), (1, "C1")):
        corner = columns.at(0, 0, 0, place)[0], rows.at(0, 0, 0, place)[0]
        style = dict(facecolor=colour, edgecolor=colour, alpha=0.35)
        axes.add_patch(Rectangle(corner, columns.size, rows.size, **style))
        axes.add_patch(Rectangle((left + place, top), 1, 1, **style))
    kind = f"padding {padding}, stride {stride}"
    axes.set_title(f"{kind}\n{size}x{size} to {width}x{width}", fontsize=10)
    axes.set(xlim=(-1.2, 6.2), ylim=(12, -1.2))
    return width == (size + 2 * padding - 3) // stride + 1


def draw_pooling(pooled):
    """Draw the slide's numbers, and what each kind of pooling makes of them."""
    drawn = plot.figure(11, 3.2)
    places = drawn.subplots(1, 1 + len(pooled), width_ratios=[2, *[1.3] * len(pooled)])
    pictures = {"the slide's numbers": POOLED, **pooled}
    for axes, (name, values) in zip(places, pictures.items(), strict=True):
        window = len(values) // 2
        grid(axes, values, 0, 0, colours=PALE.repeat(window, 0).repeat(window, 1))
        axes.set(xlim=(-0.05, len(values) + 0.05), ylim=(len(values) + 0.05, -0.05))
        axes.set_title(name, fontsize=10)
    drawn.suptitle("pooling of 2x2 windows with stride 2", fontsize=11)
    return drawn


def grid(axes, values, left, top, *, dashed=0, colours=None):
    """Draw numbers in square cells; of the outer ones, as many rows and columns are dashed."""
    axes.set_aspect("equal")
    axes.axis("off")
    for (row, column), value in np.ndenumerate(values):
        inner = all(dashed <= i < len(values) - dashed for i in (row, column))
        style = dict(edgecolor="black") if inner else dict(edgecolor="gray", linestyle="--")
        colour = "none" if colours is None else colours[row, column]
        corner = (left + column, top + row)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, **style, linewidth=0.8))
        if inner:
            axes.text(corner[0] + 0.5, corner[1] + 0.5, f"{value:.3g}", ha="center", va="center")


def fields(name, *kinds):
    """Return the receptive field behind each layer of these kinds on a network's way [pixels]."""
    return [
        layer.receptive_field[0]
        for layer in mc.summary(models.create(name, **NETWORKS[name])).layers
        if layer.kind in kinds and not ("branch" in layer.name or "downsample" in layer.name)
    ]


def draw_growth(growth):
    """Draw VGG-16's fields in its image, and how the fields of all networks grow."""
    drawn = plot.figure(11, 4.4)
    image, curves = drawn.subplots(1, 2, width_ratios=[1, 1.6])
    for i, size in enumerate(fields("vgg16", "MaxPool2d")):
        style = dict(fill=False, edgecolor=f"C{i}", label=f"pooling {i + 1}: {size}")
        image.add_patch(Rectangle((112 - size / 2,) * 2, size, size, **style))
    image.legend(loc=(0.62, 0.74), frameon=False, fontsize=8)
    image.set(xlim=(0, 224), ylim=(224, 0), aspect="equal", xlabel="pixels", ylabel="pixels")
    image.set_title("VGG-16: what the middle behind each pooling sees", fontsize=10)
    for name, each in growth.items():
        curves.plot(range(1, len(each) + 1), each, ".-", label=name)
    curves.axhline(224, color="gray", linestyle="--", linewidth=1)
    curves.text(0, 235, "an image of 224 pixels", color="gray", fontsize=8)
    curves.set(yscale="log", ylabel="receptive field [pixels]")
    curves.set(xlabel="convolution, pooling or Inception module, from the input on")
    curves.set_yticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1000"])
    curves.set_title("how much of a row one output sees, padding included", fontsize=10)
    curves.legend(frameon=False)
    return drawn


if __name__ == "__main__":
    experiment.command_line(main)
