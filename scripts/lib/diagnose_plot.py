"""Figures of the diagnostics, as PNG bytes, in a light and a dark theme, in the style of compare_plot."""
import numpy as np
from matplotlib.ticker import LogFormatter, MaxNLocator

from compare_plot import INK, new_figure, png, style, title_figure
from diagnostics import PARTS, distribution

FLOOR = 1e-4  # lower limit of plotted singular values, relative to the largest: below is mostly rounding of the weights


def plot_matrix(series, name, step, title, theme):
    """The update of one matrix, one column per run: singular values over the largest (top) and row norms over their mean
    (bottom), both descending."""
    figure, axes = new_figure(2, len(series), (max(8.5, 0.9 + 3.1 * len(series)), 6.6), theme)
    most = 1.6
    for i, one in enumerate(series):
        stats = one.steps[step][name]["update"]
        colour, _ = style(i, theme)
        above, below = axes[:, i]
        x, values = distribution(stats, "singular_values", "singular_quantiles")
        draw_descending(above, x, np.maximum(values / (values[0] or 1), FLOOR), FLOOR, colour)
        mark(above, f"κ = {number(stats['condition'])}", colour)
        x, norms = distribution(stats, "row_norms", "row_norm_quantiles")
        norms = norms / (stats["row_norm_mean"] or 1)
        draw_descending(below, x, norms, 0, colour)
        mark(below, f"CV = {number(stats['row_norm_cv'])}", colour)
        most = max(most, 1.05 * norms[0])
        above.set_title(one.label, color=colour, fontsize=12, fontweight="bold")
        above.set_xlabel("% of the singular values")
        below.set_xlabel("% of the rows")
    for i in range(len(series)):
        log_axis(axes[0, i], theme)
        axes[0, i].set_ylim(FLOOR, 8)
        axes[1, i].set_ylim(0, most)
        for ax in axes[:, i]:
            ax.set_xlim(0, 100)
            ax.tick_params(labelleft=i == 0)
    axes[0, 0].set_ylabel("singular value / largest")
    axes[1, 0].set_ylabel("row norm / mean")
    figure.subplots_adjust(top=figure.subplotpars.top - 0.04, hspace=0.32, wspace=0.1)
    title_figure(figure, title, f"The update of {name} at step {step}, without learning rate and weight decay", theme)
    return png(figure)


class PlainLog(LogFormatter):
    """matplotlib's ticks with plain labels: 0.6 for 6e-01."""

    def __call__(self, x, pos=None):
        return number(x) if super().__call__(x, pos) else ""


def log_axis(ax, theme):
    ax.set_yscale("log")
    ax.tick_params(axis="y", which="both", colors=INK[theme], labelsize=10, length=0)
    ax.yaxis.set_minor_formatter(PlainLog(labelOnlyBase=False, minor_thresholds=(1.3, 0.4)))
    low, high = ax.get_ylim()
    if 1e-3 < low and high < 1e5:
        ax.yaxis.set_major_formatter(PlainLog())


def draw_descending(ax, x, y, bottom, colour):
    ax.plot(x, y, color=colour, linewidth=2, zorder=3)
    ax.fill_between(x, y, bottom, color=colour, alpha=0.18, linewidth=0, zorder=2)


def mark(ax, text, colour):
    ax.annotate(text, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", color=colour, fontsize=11, fontweight="bold")


def number(value):
    return "-" if value is None else f"{value:.3g}" if value < 1e4 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def plot_traces(series, of, title, theme):
    """Condition number (top) and nuclear norm (bottom) during training, one column per part of the model."""
    parts = [part for part in PARTS.values() if any(one.values(part, of, "condition")[0] for one in series)]
    figure, axes = new_figure(2, max(1, len(parts)), (max(8.5, 5 * len(parts)), 8), theme)
    for column, part in enumerate(parts):
        for row, key in enumerate(("condition", "nuclear")):
            ax = axes[row, column]
            for i, one in enumerate(series):
                draw_trace(ax, *one.values(part, of, key), style(i, theme), one.label)
            log_axis(ax, theme)  # after the lines, which set the limits
            ax.set_xlabel("step")
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        most = max(one.count(part) for one in series)
        axes[0, column].set_title(part + (f" ({most} matrices: median; band: the middle half)" if most > 1 else ""),
                                  color=INK[theme], fontsize=11)
    axes[0, 0].set_ylabel("condition number")
    axes[1, 0].set_ylabel("nuclear norm")
    figure.subplots_adjust(left=0.95 / figure.get_figwidth(), top=figure.subplotpars.top - 0.07)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.2 / figure.get_figwidth(), 1 - 0.66 / figure.get_figheight()),
                      ncol=len(labels), frameon=False, labelcolor="linecolor", fontsize=10.5)
    title_figure(figure, title, f"The {of} of every matrix" + (" before clipping" if of == "gradient" else ""), theme)
    return png(figure)


def draw_trace(ax, steps, rows, colour_and_dash, label):
    """The median over the matrices at every step, and the quartiles. Zeros and NaN are left out of the log axis."""
    colour, dash = colour_and_dash
    good = [(step, row[row > 0]) for step, row in zip(steps, rows) if (row > 0).any()]
    if not good:
        return
    x = [step for step, _ in good]
    marker = {"marker": ".", "markersize": 5} if len(x) <= 40 else {}
    ax.plot(x, [np.median(row) for _, row in good], color=colour, linestyle=dash, linewidth=2, zorder=3, label=label, **marker)
    if max(len(row) for _, row in good) > 1:
        ax.fill_between(x, *np.transpose([np.percentile(row, [25, 75]) for _, row in good]), color=colour, alpha=0.15, linewidth=0, zorder=2)
