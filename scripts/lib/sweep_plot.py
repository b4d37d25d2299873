"""The figure of a sweep: final validation loss against each swept option."""
import math

from matplotlib.lines import Line2D

from compare_plot import INK, new_figure, png, style, title_figure
from sweep_points import as_number

WIDTH = 10  # minimum in inches: space for title, legend and subtitle
HIGHEST = 4  # y limit in units of (median - lowest loss) above the lowest: higher losses are drawn at the upper edge


def swept_options(points):
    """Options for which some optimizer tried at least two values."""
    options = list(dict.fromkeys(option for point in points for option in point.point))
    tried = lambda option, name: {p.point[option] for p in points if p.optimizer == name and option in p.point}
    optimizers = {point.optimizer for point in points}
    return [option for option in options if any(len(tried(option, name)) > 1 for name in optimizers)]


def plot_axes(points, best, title, theme):
    """PNG bytes; None if nothing was swept. A line joins the best setting at each value of the option (the lower edge of
    the dots); its error bars are the range over the seeds."""
    options = swept_options(points)
    if not options:
        return None
    columns = min(len(options), 3)
    rows = math.ceil(len(options) / columns)
    figure, axes = new_figure(rows, columns, (max(1 + 5.2 * columns, WIDTH), 1.4 + 3.9 * rows), theme)
    figure.subplots_adjust(wspace=0.28)
    optimizers = list(dict.fromkeys(point.optimizer for point in points))
    limits = loss_limits(points)
    for ax in axes.flat[len(options):]:
        ax.set_visible(False)
    for ax, option in zip(axes.flat, options):
        draw_option(ax, option, points, best, optimizers, limits, theme)
    handles = [Line2D([], [], color=style(i, theme)[0], linestyle=style(i, theme)[1], marker="o", markersize=5, label=name)
               for i, name in enumerate(optimizers)]
    figure.legend(handles=handles, frameon=False, labelcolor=INK[theme], fontsize=10.5, loc="upper right",
                  ncols=min(len(handles), 4))
    several = any(len(point.losses) > 1 for point in points)
    title_figure(figure, title, "Final validation loss; lines join the best setting at each value, ring: best of all"
                 + ("; bars: lowest to highest seed" if several else "")
                 + ("; ▲: above the picture" if any(limits[1] < point.mean < math.inf for point in points) else "")
                 + ("; ×: diverged" if any(point.diverged for point in points) else ""), theme)
    return png(figure)


def loss_limits(points):
    finite = sorted(point.mean for point in points if math.isfinite(point.mean))
    if not finite:
        return 0, 1
    low, middle = finite[0], finite[len(finite) // 2]
    high = min(finite[-1], low + HIGHEST * (middle - low)) if middle > low else finite[-1]
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1
    return low - margin, high + 1.5 * margin


def draw_option(ax, option, points, best, optimizers, limits, theme):
    having = [point for point in points if option in point.point]
    texts = list(dict.fromkeys(point.point[option] for point in having))
    numbers = [as_number(text) for text in texts]
    is_number = all(number is not None for number in numbers)
    x_of = (lambda point: as_number(point.point[option])) if is_number else (lambda point: texts.index(point.point[option]))
    if is_number and min(numbers) > 0:
        ax.set_xscale("log")
    elif not is_number:
        ax.set_xticks(range(len(texts)), texts)
    ax.set_ylim(*limits)
    ax.set_xlabel(option)
    ax.set_ylabel("final validation loss")
    for i, name in enumerate(optimizers):
        mine = [point for point in having if point.optimizer == name]
        if mine:
            colour, dash = style(i, theme)
            draw_optimizer(ax, mine, x_of, is_number, best.get(name), limits, colour, dash)
    if is_number and min(numbers) > 0:
        nice_log_ticks(ax, sorted(set(numbers)))


def nice_log_ticks(ax, values):
    """Puts ticks at the tried values if they are few, but not closer than their labels need."""
    low, high = values[0], values[-1]
    width = math.log(high / low) or 1
    ax.set_xlim(low * math.exp(-0.08 * width), high * math.exp(0.08 * width))
    if len(values) > 12:
        return
    kept = [low]
    for value in values[1:]:
        if math.log(value / kept[-1]) >= 0.11 * width:
            kept.append(value)
    ax.set_xticks(kept, [f"{value:g}" for value in kept])
    ax.set_xticks([], minor=True)


def draw_optimizer(ax, points, x_of, ordered, best, limits, colour, dash):
    bottom, top = limits
    edge = top - 0.03 * (top - bottom)
    for point in points:
        if point.diverged:
            ax.plot([x_of(point)], [edge], "x", color=colour, markersize=7, markeredgewidth=2, zorder=3)
        elif point.mean > top:
            ax.plot([x_of(point)], [edge], "^", color=colour, markersize=6, zorder=3)
        else:
            ax.plot([x_of(point)], [point.mean], "o", color=colour, markersize=4, alpha=0.35, zorder=2)
    lowest = {}
    for point in points:
        x = x_of(point)
        if math.isfinite(point.mean) and (x not in lowest or point.mean < lowest[x].mean):
            lowest[x] = point
    xs = sorted(lowest)
    # With random values of several options, a line would mostly show the noise of the other options.
    varying = [option for option in points[0].point if len({point.point.get(option) for point in points}) > 1]
    if ordered and (len(varying) <= 1 or 2 * len(xs) <= sum(math.isfinite(point.mean) for point in points)):
        ax.plot(xs, [lowest[x].mean for x in xs], color=colour, linestyle=dash, linewidth=1.8, alpha=0.8, zorder=3)
    for x in xs:
        losses = list(lowest[x].losses.values())
        if len(losses) > 1:
            ax.plot([x, x], [min(losses), max(losses)], color=colour, linewidth=1.4, zorder=3)
        ax.plot([x], [lowest[x].mean], "o", color=colour, markersize=5, zorder=4)
    if best:
        ax.plot([x_of(best)], [best.mean], "o", markersize=12, markerfacecolor="none", markeredgecolor=colour,
                markeredgewidth=2, zorder=5)
