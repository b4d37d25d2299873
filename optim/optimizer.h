// optim/optimizer.h - optimizers: the registry, the options of each group of parameters, declared state, the step.
//
// An optimizer is one .c file and one line in the registry (optim/registry.c). From the registry come --optimizer
// NAME, the help, the config keys, the checkpoint's layout and the memory plan. Parameters are routed by role to
// four groups, each with its own optimizer, learning rate, options and schedule.
#ifndef POLAR_OPTIM_OPTIMIZER_H
#define POLAR_OPTIM_OPTIMIZER_H

#include "base/options.h"
#include "device/device.h"
#include "model/params.h"
#include "optim/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

// Groups of parameters. Option names carry the prefix: --lr is the hidden matrices', --embed-lr the embeddings'.
typedef enum { GROUP_HIDDEN, GROUP_EMBED, GROUP_HEAD, GROUP_VECTOR, GROUP_COUNT } ParamGroup;

const char *group_name(ParamGroup group);   // "hidden", "embed", "head", "vector"
const char *group_prefix(ParamGroup group); // "", "embed-", "head-", "vector-"
ParamGroup group_of_role(Role role);

// An option that an optimizer offers of a table that it shares with others.
typedef struct {
    const char *name;
    const char *def;  // NULL: the table's
    const char *note; // on that default, for the help; NULL: none
} OptionOffer;

enum { MAX_STATE_TENSORS = 4 };

typedef struct OptimizerDef OptimizerDef;

// An optimizer with its options, for one group.
typedef struct {
    const OptimizerDef *def;
    union {
        char bytes[256]; // the optimizer's own struct of options
        double align;
    } values;
    uint64_t given; // bit i: option i was given by the user, and is no default
    Schedule schedule;
} ParamGroupOptions;

// How a state tensor follows its parameter when parameters are sharded by rows.
typedef enum { SHARD_AS_PARAM, SHARD_PER_ROW, SHARD_OWNER_ONLY, SHARD_REPLICATED } Sharding;

// One tensor of state for a parameter, with as many rows as this has, or one row for each matrix that the optimizer sees
// in it.
typedef struct {
    const char *name; // "momentum": the tensor is NAME.PARAMETER in a checkpoint
    int64_t rows, cols;
    Type type;
    Sharding sharding;
} StateSpec;

// What an optimizer's operations read from device memory (StepInputs).
typedef struct {
    double lr, momentum, beta1, beta2;
} StepScalars;

// Weight decay that stands beside the optimizer's own update: W = W - lr (U + rate W), with `cautious` only where U and
// W do not differ in sign.
typedef struct {
    double rate;
    bool cautious;
} WeightDecay;

// Bytes of scratch: of the optimizer itself, and of the stream's (stream_reserve).
typedef struct {
    int64_t own, stream;
} OptimizerScratch;

typedef struct OptimizerStep OptimizerStep; // what a step is given: optim/step.h

struct OptimizerDef {
    const char *name;         // "normuon"
    const char *summary;      // one line
    const char *reference;    // paper and equation or algorithm
    const OptionTable *table; // of its struct of options
    // What it offers of the table; the rest has the table's defaults. NULL: all of it. The first one is always "lr".
    const OptionOffer *offers;
    int n_offers;
    bool matrices_only; // cannot take vectors (gains and biases)

    // `options`, here and below, is the optimizer's own struct of them.
    // Fills options that were not given and depend on others (a form's own defaults). May be NULL.
    void (*resolve)(ParamGroupOptions *group);
    // Refuses resolved options that do not go together, or that the device (NULL: not asked) has no solves for. May be
    // NULL.
    bool (*check)(const void *options, const Device *device, Error *err);
    // State of one parameter; returns the number of tensors. They start at zero.
    int (*declare_state)(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type);
    // Scratch for a list of matrix groups of a network of `type`, on a device (NULL: the CPU). May be NULL: none.
    OptimizerScratch (*scratch)(const MatrixGroup *groups, int n_groups, const void *options, const Device *device,
                                Type type);
    // How matrices with natural row splits (q, k, v) are viewed. May be NULL: whole.
    SplitLevel (*splits)(const void *options);
    // Whether a step waits for the host, so that it cannot be recorded. May be NULL: never.
    bool (*needs_host_sync)(const void *options);
    // The scalars of step t (0-based) that the operations read; the schedule comes on top of lr. Those left alone are 0.
    void (*scalars)(StepScalars *scalars, const void *options, int64_t t);
    // NULL: no decay beside the update.
    WeightDecay (*weight_decay)(const void *options);
    // Updates all parameters of one group.
    void (*step)(const OptimizerStep *step);
    // For methods that evaluate at other weights than they train (schedule-free): swaps the master weights to the
    // evaluation point and back. NULL: evaluation happens at the trained weights.
    void (*evaluation_weights)(const OptimizerStep *step, bool enter);
};

// The registry: all optimizers, in the order of the help.
const OptimizerDef *const *optimizer_registry(int *count);
const OptimizerDef *optimizer_find(const char *name, Error *err); // offers the nearest name

int optimizer_option_count(const OptimizerDef *def);
OptionSpec optimizer_option(const OptimizerDef *def, int i); // with the optimizer's own default
// The number of an option; -1 with an error that offers the nearest name and lists all.
int optimizer_option_find(const OptimizerDef *def, const char *name, Error *err);

// An optimizer with every option at its default.
void param_group_init(ParamGroupOptions *group, const OptimizerDef *def);
// Sets one option by name from text; errors name the option, the range and the options that exist.
bool param_group_set(ParamGroupOptions *group, const char *name, const char *text, Error *err);
// Whether an option, by its field in group->values, was given and is no default.
bool param_group_given(const ParamGroupOptions *group, const void *field);
// Writes the value of an option as the text that param_group_set reads back to the same value.
void param_group_text(char *text, size_t size, const ParamGroupOptions *group, int option);
WeightDecay param_group_weight_decay(const ParamGroupOptions *group);

// The learning rate of step t (0-based) of total: the optimizer's times its schedule's factor.
double scheduled_lr(const ParamGroupOptions *group, int64_t t, int64_t total);

// What a step must know that changes from step to step, written by the host; all of it lives in device memory.
typedef struct {
    double lr[GROUP_COUNT];       // scheduled
    double momentum[GROUP_COUNT]; // warmed up
    double beta1[GROUP_COUNT], beta2[GROUP_COUNT];
    double max_grad_norm; // clip to this global norm; 0: never
    double loss_scale;    // mean loss = *loss * loss_scale
    double loss_limit;    // a mean loss above this makes the step a bad one; infinity: none
} StepInputs;

// A larger gradient, after clipping, makes a step a bad one: its squares would overflow a float, and an infinite second
// moment holds its weight still without a sign of it.
#define MAX_APPLIED_NORM 1e19

// What the device keeps and reports. `applied` is state and stands in checkpoints.
typedef struct {
    double applied; // steps applied so far (bad ones left out): the t of bias corrections
    double bias_correction1[GROUP_COUNT], bias_correction2[GROUP_COUNT]; // 1 - beta^t
    double loss;                                                         // mean loss of this step
    double grad_norm;                                                    // global norm before clipping
    double clip_scale;                                                   // factor on every gradient
    double ok; // 1: the step is applied; 0: loss or gradient not finite or above their limits
} StepReport;

typedef struct Optimizer Optimizer;

// Makes the optimizers of all groups over one arena of parameters of a network of `type`; master weights, gradients and
// states have type_accumulate(type). The table must outlive it; the options are copied and resolved. Errors: what
// optimizer_check refuses, no operations for the type, out of memory.
Optimizer *optimizer_create(Device *device, Type type, const ParamTable *table,
                            const ParamGroupOptions groups[GROUP_COUNT], Error *err);
void optimizer_free(Optimizer *optimizer);

// Bytes of state and of scratch that optimizer_create allocates on a device (NULL: the CPU), for options that
// optimizer_check accepts.
void optimizer_memory(int64_t *state, int64_t *scratch, const Device *device, const ParamTable *table,
                      const ParamGroupOptions groups[GROUP_COUNT], Type type);

// Bytes of the stream's scratch that a step takes, without the solves of polar methods that have some.
int64_t optimizer_stream_scratch(const Device *device, const ParamTable *table,
                                 const ParamGroupOptions groups[GROUP_COUNT], Type type);

// Checks routing and options against the table and the device (NULL: not asked) without allocating: what optimizer_create would refuse. Groups
// without parameters are not looked at; their def may be NULL.
bool optimizer_check(const Device *device, const ParamTable *table, const ParamGroupOptions groups[GROUP_COUNT],
                     Error *err);

// A step in two parts. The first brings what changes from step to step to the device; t is 0-based.
void optimizer_begin(Optimizer *optimizer, Stream *stream, int64_t t, int64_t total_steps, double max_grad_norm,
                     double loss_scale, double loss_limit);
// The second, the same work every time: norm, guard and clipping of the gradients, then every group's update of `master`
// (and `weights`, where the type differs). `loss` is the device's sum of losses.
void optimizer_update(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                      const double *loss);
// Whether the second part waits for the host somewhere; else it can be recorded (device_can_capture).
bool optimizer_needs_host_sync(const Optimizer *optimizer);

// Both.
void optimizer_step(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                    const double *loss, int64_t t, int64_t total_steps, double max_grad_norm, double loss_scale,
                    double loss_limit);

// The report of the last step (waits for the stream).
StepReport optimizer_report(const Optimizer *optimizer, Stream *stream);

// Hook of methods that evaluate elsewhere; a no-op for the others.
void optimizer_evaluation_weights(Optimizer *optimizer, Stream *stream, void *master, void *weights, bool enter);

// All state tensors, for checkpoints and plans. `data` is device memory.
typedef struct {
    char name[128];
    const Param *param;
    StateSpec spec;
    void *data;
} StateTensor;
int optimizer_state_count(const Optimizer *optimizer);
StateTensor optimizer_state(const Optimizer *optimizer, int i);
double optimizer_applied(const Optimizer *optimizer, Stream *stream);

// A matrix as its optimizer sees it: q, k, v each alone where they are split, the vocabulary without its padding.
typedef struct {
    const Param *param;
    ParamGroup group;
    const char *split; // "q", "k", "v"; "" where it is the whole parameter
    int64_t offset;    // in elements, in the arenas of the parameters
    int64_t rows, cols;
    const void *momentum; // device memory (rows, cols), in the type of the gradients; NULL where none is kept
} OptimizerMatrix;

// All matrices in the order of the parameters; at most optimizer_matrix_count of them.
int optimizer_matrix_count(const Optimizer *optimizer);
void optimizer_matrices(OptimizerMatrix *matrices, const Optimizer *optimizer);
void optimizer_set_applied(Optimizer *optimizer, Stream *stream, double applied);

#ifdef __cplusplus
}
#endif
#endif
