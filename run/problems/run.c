#include "run/problems/run.h"

#include "base/signals.h"

#include <inttypes.h>
#include <math.h>

bool problem_run_create(ProblemRun *run, const ProblemConfig *config, Device *device, Error *err) {
    Error unsolvable;
    run->config = config;
    if (config->diagnose && !device_can_solve(device, &unsolvable))
        return error_set(err, "--diagnose needs singular values: %s; or use --diagnose 0", unsolvable.text);
    if (!problem_create(&run->problem, config->def, &config->sizes, (uint64_t)config->seed, (Type)config->type,
                        device, err))
        return false;
    run->optimizer = optimizer_create(device, run->problem.type, &run->problem.table, config->groups, err);
    return run->optimizer != NULL;
}

void problem_run_free(ProblemRun *run) {
    metrics_close(&run->metrics);
    optimizer_free(run->optimizer);
    if (run->problem.device) problem_free(&run->problem);
}

static void write_spectra(JsonWriter *w, char text[128], ProblemRun *run) {
    Problem *p = &run->problem;
    if (p->residual) {
        Spectrum s = problem_spectrum(p, p->residual, p->sizes.rows, p->sizes.cols);
        json_double(w, "residual_condition", s.condition);
    }
    json_begin_object(w, "gradient");
    for (int i = 0; i < p->table.n_params; i++) {
        const Param *param = &p->table.params[i];
        Spectrum s = problem_spectrum(p, problem_param(p, p->grads, i), param->rows, param->cols);
        json_begin_object(w, param->name);
        json_double(w, "condition", s.condition);
        json_double(w, "nuclear_norm", s.nuclear);
        json_end_object(w);
        if (i == 0) snprintf(text, 128, "  gradient: condition %.4g, nuclear norm %.4g", s.condition, s.nuclear);
    }
    json_end_object(w);
}

// Writes the record of a step, and prints a line ten times per run.
static bool report(ProblemRun *run, double loss, Error *err) {
    const ProblemConfig *config = run->config;
    Problem *p = &run->problem;
    JsonWriter w = {0};
    char error[48] = "", spectra[128] = "";
    bool last = run->step == config->steps;
    run->loss = p->def->reported ? p->def->reported(p, loss) : loss;
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "problem");
    json_int(&w, "step", run->step);
    json_double(&w, "loss", run->loss);
    json_double(&w, "lr", scheduled_lr(&config->groups[GROUP_HIDDEN], run->step, config->steps));
    if (run->step == 0 && !isnan(p->optimum)) json_double(&w, "optimum", p->optimum);
    if (!isnan(p->relative_error)) {
        json_double(&w, "relative_error", p->relative_error);
        snprintf(error, sizeof error, "  relative error %.4g", p->relative_error);
    }
    if (config->diagnose && (last || run->step % config->diagnose == 0)) write_spectra(&w, spectra, run);
    json_double(&w, "elapsed_s", run->elapsed_s);
    json_end_object(&w);
    int64_t tenth = config->steps / 10 > 0 ? config->steps / 10 : 1;
    if (last || run->step % tenth == 0)
        progress_print(&run->progress, false, "step %" PRId64 "/%" PRId64 "  loss %.6g%s%s", run->step,
                       config->steps, run->loss, error, spectra);
    return metrics_write(&run->metrics, &w, err);
}

static void zero_gradient(Problem *p, int i) {
    device_zero(p->stream, problem_param(p, p->grads, i),
                (size_t)param_elements(&p->table.params[i]) * type_size(p->type));
}

// One step from the current gradient. Returns false if it is not finite; nothing is changed then.
static bool step(ProblemRun *run) {
    const ProblemConfig *config = run->config;
    Problem *p = &run->problem;
    if (config->direction == DIRECTION_NEWTON) p->def->newton_direction(p);
    for (int turn = 0; turn < (config->direction == DIRECTION_ALTERNATING ? 2 : 1); turn++) {
        if (turn == 1) problem_gradient(p, run->step);
        if (config->direction == DIRECTION_ALTERNATING) zero_gradient(p, 1 - turn);
        optimizer_step(run->optimizer, p->stream, p->x, p->x, p->grads, p->loss, run->step, config->steps,
                       config->clip, 1, INFINITY);
        if (optimizer_report(run->optimizer, p->stream).ok == 0) return false;
    }
    return true;
}

static bool write_end(ProblemRun *run, const char *reason, Error *err) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "end");
    json_int(&w, "step", run->step);
    json_string(&w, "reason", reason);
    json_double(&w, "elapsed_s", run->elapsed_s);
    json_end_object(&w);
    return metrics_write(&run->metrics, &w, err) && metrics_sync(&run->metrics, err);
}

bool problem_run_steps(ProblemRun *run, Error *err) {
    const ProblemConfig *config = run->config;
    for (;; run->step++) {
        double start = seconds_now(), loss = problem_gradient(&run->problem, run->step);
        run->elapsed_s += seconds_now() - start;
        if ((run->step % config->log_every == 0 || run->step == config->steps) && !report(run, loss, err))
            return false;
        if (run->step == config->steps) return write_end(run, "finished", err);
        if (signals_received())
            return write_end(run, "signal", err) &&
                   error_set(err,
                             "stopped by %s after step %" PRId64
                             "; problems cannot be resumed: start over with --overwrite",
                             signals_name(signals_received()), run->step);
        start = seconds_now();
        bool ok = step(run);
        run->elapsed_s += seconds_now() - start;
        if (!ok)
            return write_end(run, "diverged", err) &&
                   error_set(err,
                             "step %" PRId64 ": diverged: the loss or its gradient is not finite; use a lower "
                             "--lr, or the --polar-steps that the rate was tuned for",
                             run->step + 1);
    }
}
