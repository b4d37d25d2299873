"""Figures of a comparison, as PNG bytes, in a light and a dark theme."""
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.ticker import EngFormatter, MaxNLocator  # noqa: E402

# Okabe and Ito's colours, distinguishable with every kind of colour vision; further series reuse them with dashes.
COLOURS = {
    "light": ["#0072B2", "#D55E00", "#009E73", "#B5468B", "#C98A00", "#3A9BD9", "#444444"],
    "dark": ["#56B4E9", "#F0793A", "#2CC49B", "#E39AC4", "#F0C23B", "#9CC9F5", "#CCCCCC"],
}
INK = {"light": "#222222", "dark": "#DDDDDD"}
FAINT = {"light": "#DDDDDD", "dark": "#3A3F47"}
PAPER = {"light": "#FFFFFF", "dark": "#16191E"}
LINE_INCHES = 0.24  # line spacing of text
DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5))]


def plot_target(series, report, title, theme):
    """Validation loss against steps, with the target and the points where each series first reaches it."""
    figure, axes = new_figure(1, 1, (9.6, 5.6), theme)
    ax = axes[0, 0]
    target = report["target_val_loss"]
    for i, one in enumerate(series):
        draw_val(ax, one, one.step, style(i, theme))
    end = max(one.step[-1] for one in series)
    draw_target(ax, target, end, theme)
    ax.annotate(f"target {target:.3f}", (0, target), xytext=(6, -4), textcoords="offset points", va="top",
                color=INK[theme], fontsize=10)
    bottom, top = val_limits(series, target, from_fraction=0.2)
    line = (top - bottom) * LINE_INCHES / axes_height(ax)
    crossings = sorted((row["steps_to_target"], i) for i, row in enumerate(report["series"])
                       if row["steps_to_target"] is not None)
    ax.set_ylim(bottom - 1.2 * line * len(crossings), top)
    ax.set_xlim(0, end * 1.16)
    for turn, (step, i) in enumerate(crossings):
        mark_crossing(ax, report, i, step, bottom - line * (turn + 0.2), theme)
    label_ends(ax, [(one.step[-1], one.mean[-1]) for one in series], [one.label for one in series], theme)
    ax.set_xlabel("step")
    ax.set_ylabel("validation loss")
    title_figure(figure, title, f"Validation loss; dots: where the target is first reached, "
                                f"and steps saved against {report['baseline']}" + spread_text(series), theme)
    return png(figure)


def mark_crossing(ax, report, i, step, height, theme):
    """Draws a dot at the target and a line down to its label. Labels are left of the line, and lower for later crossings,
    so that no line crosses another label."""
    colour, _ = style(i, theme)
    row, target = report["series"][i], report["target_val_loss"]
    ax.plot([step, step], [height, target], color=colour, linewidth=1, zorder=4)
    ax.plot([step], [target], "o", color=colour, markersize=8, markeredgecolor=PAPER[theme], zorder=5)
    label = f"{row['label']}: step {step:,.0f}"
    saving = row["saving_steps_percent"]
    if row["label"] != report["baseline"] and saving is not None:
        label += f", {abs(saving):.0f} % {'fewer' if saving >= 0 else 'more'}"
    left = step > 0.35 * ax.get_xlim()[1]
    ax.annotate(label, (step, height), xytext=(-5 if left else 5, 0), textcoords="offset points",
                ha="right" if left else "left", va="center", color=colour, fontsize=10, fontweight="bold", zorder=6,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": PAPER[theme], "edgecolor": "none"})


def draw_target(ax, target, end, theme):
    ax.plot([0, end], [target, target], color=INK[theme], linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def plot_curves(series, report, title, theme):
    """Training loss (top) and validation loss (bottom) against steps, tokens and time."""
    figure, axes = new_figure(2, 3, (15, 8.6), theme)
    unit, per_unit = time_unit(max(np.nanmax(one.elapsed) for one in series))
    kinds = [("step", "step", 1), ("tokens", "tokens", 1), ("elapsed", f"training time ({unit})", per_unit)]
    for column, (name, label, scale) in enumerate(kinds):
        above, below = axes[0, column], axes[1, column]
        train_ends, val_ends = [], []
        for i, one in enumerate(series):
            train_ends.append(draw_train(above, one, name, scale, style(i, theme)))
            x = getattr(one, name) / scale
            draw_val(below, one, x, style(i, theme))
            val_ends.append((x[-1], one.mean[-1]))
        draw_target(below, report["target_val_loss"], max(x for x, _ in val_ends), theme)
        above.set_ylim(*train_limits(series))
        below.set_ylim(*val_limits(series, report["target_val_loss"], from_fraction=0.1))
        for ax, ends in ((above, train_ends), (below, val_ends)):
            right = np.nanmax([x for x, _ in ends] + [0])
            ax.set_xlim(0, (right or 1) * 1.24)
            ax.set_xlabel(label)
            ax.xaxis.set_major_locator(MaxNLocator(6))
            if name == "tokens":
                ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            label_ends(ax, ends, [one.label for one in series], theme)
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("validation loss")
    window = max(smoothing_window(one.runs[0].train.loss) for one in series)
    smooth = f"training loss: mean over {window} records, one run's raw values faint" if window > 1 else "training loss: raw"
    title_figure(figure, title, f"{smooth}; dashed: target {report['target_val_loss']:.3f}" + spread_text(series), theme)
    return png(figure)


def spread_text(series):
    return "; band: lowest to highest seed" if any(len(one.runs) > 1 for one in series) else ""


def draw_val(ax, one, x, colour_and_dash):
    colour, dash = colour_and_dash
    marker = {"marker": ".", "markersize": 5} if len(x) <= 40 else {}
    ax.plot(x, one.mean, color=colour, linestyle=dash, linewidth=2, zorder=3, **marker)
    if len(one.runs) > 1:
        ax.fill_between(x, one.val.min(axis=0), one.val.max(axis=0), color=colour, alpha=0.2, linewidth=0, zorder=2)


def draw_train(ax, one, name, scale, colour_and_dash):
    """Plots the smoothed mean over the seeds, with the first seed's raw values behind. Returns the end of the line."""
    colour, dash = colour_and_dash
    common = sorted(set.intersection(*(set(run.train.step) for run in one.runs)))
    if not common:
        return (np.nan, np.nan)
    losses, xs = [], []
    for run in one.runs:
        at = {step: i for i, step in enumerate(run.train.step)}
        losses.append([run.train.loss[at[step]] for step in common])
        xs.append([getattr(run.train, name)[at[step]] for step in common])
    x, losses = np.mean(xs, axis=0) / scale, np.array(losses, dtype=float)
    smooth = smoothed(losses.mean(axis=0))
    ax.plot(x, losses[0], color=colour, linewidth=0.6, alpha=0.25, zorder=2)
    ax.plot(x, smooth, color=colour, linestyle=dash, linewidth=2, zorder=3)
    return (x[-1], smooth[-1])


def smoothing_window(values):
    return max(1, len(values) // 40) | 1


def smoothed(values):
    """Centred moving average over about a fortieth of the run (shorter at the ends), without non-finite records."""
    half = smoothing_window(values) // 2
    good = np.isfinite(values)
    total = np.concatenate([[0], np.cumsum(np.where(good, values, 0))])
    count = np.concatenate([[0], np.cumsum(good)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    with np.errstate(invalid="ignore"):
        return (total[high] - total[low]) / (count[high] - count[low])


def val_limits(series, target, from_fraction):
    """From slightly below the lowest loss to the losses after the given fraction of the run: the steep start would hide
    the rest."""
    lows, highs = [target], [target]
    for one in series:
        late = one.mean[one.step >= from_fraction * one.step[-1]]
        lows.extend(late[np.isfinite(late)])
        highs.extend(late[np.isfinite(late)][:1])
    return padded(min(lows), max(highs))


def train_limits(series):
    lows, highs = [], []
    for one in series:
        for run in one.runs:
            loss = smoothed(np.array(run.train.loss, dtype=float))
            late = loss[len(loss) // 12:]
            late = late[np.isfinite(late)]
            lows.extend(late)
            highs.extend(late[:1])
    return padded(min(lows), max(highs)) if lows else (0, 1)


def padded(low, high):
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1
    return low - margin, high + margin


def label_ends(ax, ends, labels, theme):
    """Labels the lines at their right ends, shifted so that the labels do not overlap."""
    bottom, top = ax.get_ylim()
    gap = (top - bottom) * 0.8 * LINE_INCHES / axes_height(ax)
    items = sorted((min(max(y, bottom), top), i) for i, (_, y) in enumerate(ends) if np.isfinite(y))
    right = max((x for x, _ in ends if np.isfinite(x)), default=0)
    places, last = {}, -np.inf
    for y, i in items:
        last = places[i] = max(y, last + gap)
    # Centre the stack of labels on its lines.
    shift = np.mean([places[i] - y for y, i in items]) if items else 0
    for y, i in items:
        colour, _ = style(i, theme)
        ax.annotate(labels[i], (right, y), xytext=(1.02 * right, places[i] - shift), color=colour, fontsize=10,
                    fontweight="bold", va="center", annotation_clip=False)


def axes_height(ax):
    """Height of the axes in inches."""
    return ax.get_position().height * ax.figure.get_size_inches()[1]


def time_unit(seconds):
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 3 * size:
            return unit, size
    return "seconds", 1


def style(index, theme):
    colours = COLOURS[theme]
    return colours[index % len(colours)], DASHES[(index // len(colours)) % len(DASHES)]


def new_figure(rows, columns, size, theme):
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, facecolor=PAPER[theme])
    top = 1 - 0.85 / size[1]
    figure.subplots_adjust(left=0.75 / size[0], right=1 - 0.25 / size[0], bottom=0.65 / size[1], top=top, wspace=0.16, hspace=0.27)
    for ax in axes.flat:
        ax.set_facecolor(PAPER[theme])
        ax.grid(True, color=FAINT[theme], linewidth=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(colors=INK[theme], labelsize=10, length=0)
        ax.xaxis.label.set_color(INK[theme])
        ax.yaxis.label.set_color(INK[theme])
        ax.xaxis.label.set_size(11)
        ax.yaxis.label.set_size(11)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT[theme])
    return figure, axes


def title_figure(figure, title, subtitle, theme):
    width, height = figure.get_size_inches()
    figure.text(0.25 / width, 1 - 0.34 / height, title, fontsize=15, fontweight="bold", color=INK[theme])
    figure.text(0.25 / width, 1 - 0.62 / height, subtitle, fontsize=10.5, color=INK[theme], alpha=0.85)


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor=figure.get_facecolor(), metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
