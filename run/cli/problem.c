#include "run/cli/commands.h"

#include "run/checkpoint/directory.h"
#include "run/training/plan.h"
#include "run/problems/rates.h"
#include "run/problems/run.h"
#include "base/path.h"
#include "run/training/run_dir.h"
#include "base/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: train problem NAME [options]\n"
    "\n"
    "Optimizes a matrix problem of the PolarGrad paper with any optimizer of train. NAME is\n"
    "  quadratic    min over X of 1/2 ||A X B - C||^2; the logged loss is f - f*,\n"
    "               the distance to the minimum\n"
    "  logistic     min over X of the sum of log(1 + exp(-C (A X B))), on batches of\n"
    "               rows of A\n"
    "  completion   min over X, Y of the mean of (X Y^T - M)^2 over the known\n"
    "               entries of M\n"
    "\n"
    "--optimizer NAME and its options are those of train (--help optimizers), with --schedule and --warmup. Also\n"
    "  newton       quadratic: X -= lr (A^T A)^-1 G (B B^T)^-1\n"
    "  altgd        completion: alternating gradient descent, X and then Y with a\n"
    "               new gradient\n"
    "\n"
    "The paper's experiments are configs/problems/NAME_*.conf; scripts/problems.py runs and plots all of a "
    "problem.\n";
static const char example[] = "\n"
                              "example:\n"
                              "  train problem quadratic --config configs/problems/quadratic_muon.conf \\\n"
                              "        --out runs/quadratic_muon\n";

typedef struct {
    ProblemConfig config;
    Device *device;
    RunDir dir;
    ProblemRun run;
    FILE *log;
    char *plan; // as printed
} Job;

// Returns the output of `print` as a string.
static char *text_of(void (*print)(FILE *, const Job *), const Job *s) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    ASSERT(out);
    print(out, s);
    fclose(out);
    return text;
}

static void print_plan(FILE *out, const Job *s) {
    const ProblemConfig *c = &s->config;
    const ProblemSizes *z = &c->sizes;
    fprintf(out, "Problem     %s: %s\n            ", c->def->name, c->def->summary);
    if (z->rank) fprintf(out, "M %d x %d of rank %d, fraction %g known", z->rows, z->cols, z->rank, z->mask);
    else
        fprintf(out, "A %d x %d, X %d x %d, B %d x %d", z->rows, z->x_rows, z->x_rows, z->x_cols, z->x_cols,
                z->cols);
    if (z->batch) fprintf(out, ", batches of %d rows", z->batch);
    fprintf(out, "; %s, seed %" PRId64 "\n", type_name((Type)c->type), c->seed);
    fprintf(out, "Training    %" PRId64 " steps", c->steps);
    if (c->clip > 0) fprintf(out, ", gradients clipped to norm %g", c->clip);
    fprintf(out, "\nOptimizer   %s\n", c->groups[GROUP_HIDDEN].def->name);
    plan_print_options(out, &c->groups[GROUP_HIDDEN]);
    if (c->note[0]) fprintf(out, "Note        %s\n", c->note);
    char device[768];
    device_describe(device, sizeof device, s->device);
    fprintf(out, "Device      %s\n", device);
}

static void print_config(FILE *out, const Job *s) {
    problem_config_print(out, &s->config);
}

static void print_rate_row(FILE *out, const char *optimizer) {
    int n;
    const ProblemDef *const *problems = problem_registry(&n);
    fprintf(out, "  %-10s", optimizer);
    for (int i = 0; i < n; i++) {
        double rate;
        char text[32] = "-";
        if (problem_rate(&rate, problems[i], &problems[i]->sizes, optimizer))
            snprintf(text, sizeof text, "%.2g", rate);
        fprintf(out, i + 1 < n ? "  %-10s" : "  %s", text);
    }
    fputc('\n', out);
}

// Prints the table of default learning rates, and the example.
static void print_rates(FILE *out, const Job *s) {
    (void)s;
    int n, n_problems;
    const OptimizerDef *const *optimizers = optimizer_registry(&n);
    const ProblemDef *const *problems = problem_registry(&n_problems);
    fprintf(
        out,
        "Default --lr at the paper's sizes (for other sizes that of sgd, polargrad and altgd follows from them; "
        "the plan and config.conf show it). --weight-decay is 0 unless given, for every optimizer.\n");
    fprintf(out, "  %-10s", "");
    for (int i = 0; i < n_problems; i++) fprintf(out, i + 1 < n_problems ? "  %-10s" : "  %s", problems[i]->name);
    fputc('\n', out);
    for (int i = 0; i < n; i++) print_rate_row(out, optimizers[i]->name);
    print_rate_row(out, "newton");
    print_rate_row(out, "altgd");
    fputs(example, out);
}

static bool print_help(void) {
    char *more = text_of(print_rates, NULL);
    help_print_command(usage, &problem_options, more);
    free(more);
    return true;
}

static bool check_optimizer(const Device *device, const ProblemConfig *c, Error *err) {
    int64_t shapes[2][2];
    ParamTable table;
    param_table_init_matrices(&table, (const int64_t(*)[2])shapes, c->def->shapes(shapes, &c->sizes));
    bool ok = optimizer_check(device, &table, c->groups, err);
    param_table_free(&table);
    return ok;
}

static bool open_log(Job *s, Error *err) {
    char path[PATH_BYTES];
    path_join(path, s->dir.path, "log.txt");
    s->log = fopen(path, "w");
    if (!s->log) return error_set(err, "cannot open %s: %s", path, strerror(errno));
    setvbuf(s->log, NULL, _IOLBF, BUFSIZ);
    fputs(s->plan, s->log);
    return true;
}

// Everything that can fail for lack of memory comes before the directory is created.
static bool begin(Job *s, int argc, const char *const *argv, Error *err) {
    const ProblemConfig *c = &s->config;
    if (!run_dir_check_new(c->out, c->overwrite, err) || !problem_run_create(&s->run, c, s->device, err))
        return false;
    char *config = text_of(print_config, s);
    bool ok = run_dir_create(&s->dir, c->out, c->overwrite, err) && checkpoint_remove_all(s->dir.path, err) &&
              run_dir_begin(&s->dir, "./train problem", config, strlen(config), err);
    free(config);
    return ok && provenance_write(&s->dir, s->device, NULL, argc, argv, err) && open_log(s, err) &&
           metrics_open(&s->run.metrics, s->dir.path, "metrics.jsonl", 0, false, err);
}

static bool run(Job *s, int argc, const char *const *argv, Error *err) {
    ProblemRun *r = &s->run;
    signals_install("finishing the step");
    if (!begin(s, argc, argv, err)) return false;
    progress_begin(&r->progress, s->log, s->config.quiet, 0);
    if (!problem_run_steps(r, err)) {
        fprintf(s->log, "error: %s\n", err->text);
        return false;
    }
    progress_print(&r->progress, true, "finished: %" PRId64 " steps in %.1f s, loss %.6g; %s", r->step,
                   r->elapsed_s, r->loss, s->dir.path);
    return true;
}

static bool run_job(Job *s, int argc, const char *const *argv, Error *err) {
    ProblemConfig *c = &s->config;
    if (!problem_config_load(c, argc - 2, argv + 2, err)) return false;
    if (c->help) return print_help();
    if (!c->dry_run && !c->out[0])
        return error_set(err, "no output directory given: --out DIR (or --dry-run to print only the plan)");
    if (!device_open(&s->device, c->device, c->threads, err) || !check_optimizer(s->device, c, err)) return false;
    s->plan = text_of(print_plan, s);
    if (!c->quiet || c->dry_run) printf("%s%s", s->plan, c->dry_run ? "" : "\n");
    fflush(stdout);
    return c->dry_run || run(s, argc, argv, err);
}

bool command_problem(int argc, const char *const *argv, Error *err) {
    Job *s = calloc(1, sizeof *s);
    ASSERT(s);
    s->dir.lock_fd = -1;
    s->run.metrics.fd = -1;
    bool ok = run_job(s, argc, argv, err);
    problem_run_free(&s->run);
    if (s->log) fclose(s->log);
    run_dir_unlock(&s->dir);
    if (s->device) device_close(s->device);
    free(s->plan);
    free(s);
    return ok;
}
