#include "run/problems/run.h"

#include "base/signals.h"

#include <inttypes.h>
#include <math.h>

bool problem_run_create(ProblemRun *r, const ProblemConfig *c, Device *device, Error *err) {
    Error unsolvable;
    r->config = c;
    if (c->diagnose && !device_can_solve(device, &unsolvable))
        return error_set(err, "--diagnose needs singular values: %s; or use --diagnose 0", unsolvable.text);
    if (!problem_create(&r->problem, c->def, &c->sizes, (uint64_t)c->seed, (Type)c->type, device, err))
        return false;
    r->optimizer = optimizer_create(device, r->problem.type, &r->problem.table, c->groups, err);
    return r->optimizer != NULL;
}

void problem_run_free(ProblemRun *r) {
    metrics_close(&r->metrics);
    optimizer_free(r->optimizer);
    if (r->problem.device) problem_free(&r->problem);
}

static void write_spectra(JsonWriter *w, char text[128], ProblemRun *r) {
    Problem *p = &r->problem;
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
static bool report(ProblemRun *r, double loss, Error *err) {
    const ProblemConfig *c = r->config;
    Problem *p = &r->problem;
    JsonWriter w = {0};
    char error[48] = "", spectra[128] = "";
    bool last = r->step == c->steps;
    r->loss = p->def->reported ? p->def->reported(p, loss) : loss;
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "problem");
    json_int(&w, "step", r->step);
    json_double(&w, "loss", r->loss);
    json_double(&w, "lr", scheduled_lr(&c->groups[GROUP_HIDDEN], r->step, c->steps));
    if (r->step == 0 && !isnan(p->optimum)) json_double(&w, "optimum", p->optimum);
    if (!isnan(p->relative_error)) {
        json_double(&w, "relative_error", p->relative_error);
        snprintf(error, sizeof error, "  relative error %.4g", p->relative_error);
    }
    if (c->diagnose && (last || r->step % c->diagnose == 0)) write_spectra(&w, spectra, r);
    json_double(&w, "elapsed_s", r->elapsed_s);
    json_end_object(&w);
    int64_t tenth = c->steps / 10 > 0 ? c->steps / 10 : 1;
    if (last || r->step % tenth == 0)
        progress_print(&r->progress, false, "step %" PRId64 "/%" PRId64 "  loss %.6g%s%s", r->step, c->steps,
                       r->loss, error, spectra);
    return metrics_write(&r->metrics, &w, err);
}

static void zero_gradient(Problem *p, int i) {
    device_zero(p->stream, problem_param(p, p->grads, i),
                (size_t)param_elements(&p->table.params[i]) * type_size(p->type));
}

// One step from the current gradient. Returns false if it is not finite; nothing is changed then.
static bool step(ProblemRun *r) {
    const ProblemConfig *c = r->config;
    Problem *p = &r->problem;
    if (c->direction == DIRECTION_NEWTON) p->def->newton_direction(p);
    for (int turn = 0; turn < (c->direction == DIRECTION_ALTERNATING ? 2 : 1); turn++) {
        if (turn == 1) problem_gradient(p, r->step);
        if (c->direction == DIRECTION_ALTERNATING) zero_gradient(p, 1 - turn);
        optimizer_step(r->optimizer, p->stream, p->x, p->x, p->grads, p->loss, r->step, c->steps, c->clip, 1,
                       INFINITY);
        if (optimizer_report(r->optimizer, p->stream).ok == 0) return false;
    }
    return true;
}

static bool write_end(ProblemRun *r, const char *reason, Error *err) {
    JsonWriter w = {0};
    json_begin_object(&w, NULL);
    json_string(&w, "kind", "end");
    json_int(&w, "step", r->step);
    json_string(&w, "reason", reason);
    json_double(&w, "elapsed_s", r->elapsed_s);
    json_end_object(&w);
    return metrics_write(&r->metrics, &w, err) && metrics_sync(&r->metrics, err);
}

bool problem_run_steps(ProblemRun *r, Error *err) {
    const ProblemConfig *c = r->config;
    for (;; r->step++) {
        double start = seconds_now(), loss = problem_gradient(&r->problem, r->step);
        r->elapsed_s += seconds_now() - start;
        if ((r->step % c->log_every == 0 || r->step == c->steps) && !report(r, loss, err)) return false;
        if (r->step == c->steps) return write_end(r, "finished", err);
        if (signals_received())
            return write_end(r, "signal", err) &&
                   error_set(err,
                             "stopped by %s after step %" PRId64
                             "; problems cannot be resumed: start over with --overwrite",
                             signals_name(signals_received()), r->step);
        start = seconds_now();
        bool ok = step(r);
        r->elapsed_s += seconds_now() - start;
        if (!ok)
            return write_end(r, "diverged", err) &&
                   error_set(err,
                             "step %" PRId64 ": diverged: the loss or its gradient is not finite; use a lower "
                             "--lr, or the --polar-steps that the rate was tuned for",
                             r->step + 1);
    }
}
