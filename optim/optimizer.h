// optim/optimizer.h - the optimizer interface: registry, options per parameter group, optimizer state, step.
//
// An optimizer is one .c file and one line in optim/registry.def. --optimizer NAME, the help, the config keys, the
// checkpoint layout and the memory plan are derived from the registry. Parameters are routed by role to four groups,
// each with its own optimizer, learning rate, options and schedule.
#ifndef POLAR_OPTIM_OPTIMIZER_H
#define POLAR_OPTIM_OPTIMIZER_H

#include "base/options.h"
#include "device/device.h"
#include "model/params.h"
#include "optim/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

// Parameter groups. Options carry the prefix of their group: --lr is for hidden matrices, --embed-lr for embeddings.
typedef enum { GROUP_HIDDEN, GROUP_EMBED, GROUP_HEAD, GROUP_VECTOR, GROUP_COUNT } ParamGroup;

const char *group_name(ParamGroup group);   // "hidden", "embed", "head", "vector"
const char *group_prefix(ParamGroup group); // "", "embed-", "head-", "vector-"
ParamGroup group_of_role(Role role);

// An option of a shared table that an optimizer exposes.
typedef struct {
    const char *name;
    const char *def;  // default; NULL: that of the table
    const char *note; // shown with the default in the help; NULL: none
} OptionOffer;

enum { MAX_STATE_TENSORS = 4 };

typedef struct OptimizerDef OptimizerDef;

// The optimizer and options of one parameter group.
typedef struct {
    const OptimizerDef *def;
    union {
        char bytes[256]; // the optimizer's own options struct
        double align;
    } values;
    uint64_t given; // bit i: option i was set by the user
    Schedule schedule;
} ParamGroupOptions;

// How a state tensor is sharded when its parameter is sharded by rows.
typedef enum { SHARD_AS_PARAM, SHARD_PER_ROW, SHARD_OWNER_ONLY, SHARD_REPLICATED } Sharding;

// One state tensor of a parameter. It has as many rows as the parameter, or one row for each matrix that the optimizer
// views in it.
typedef struct {
    const char *name; // "momentum"; the tensor is called NAME.PARAMETER in a checkpoint
    int64_t rows, cols;
    Type type;
    Sharding sharding;
} StateSpec;

// Per-step scalars of one group; the operations read them from device memory (StepInputs).
typedef struct {
    double lr, momentum, beta1, beta2;
} StepScalars;

// Decoupled weight decay: W = W - lr (U + rate W). `cautious` skips the elements in which U and W have opposite signs.
typedef struct {
    double rate;
    bool cautious;
} WeightDecay;

// Scratch in bytes: the optimizer's own, and from the stream's workspace (stream_reserve).
typedef struct {
    int64_t own, stream;
} OptimizerScratch;

typedef struct OptimizerStep OptimizerStep; // the arguments of a step: optim/step.h

struct OptimizerDef {
    const char *name;         // "normuon"
    const char *summary;      // one line
    const char *reference;    // paper and equation or algorithm
    const OptionTable *table; // of its options struct
    // The options of the table that it exposes, "lr" first; the others keep the table's defaults. NULL: all.
    const OptionOffer *offers;
    int n_offers;
    bool matrices_only; // cannot take vectors (gains and biases)

    // `options`, here and below, points to the optimizer's own options struct.
    // Fills in unset options whose defaults depend on other options. May be NULL.
    void (*resolve)(ParamGroupOptions *group);
    // Rejects resolved options that conflict, or that need a solver which the device (NULL: not checked) lacks. May be
    // NULL.
    bool (*check)(const void *options, const Device *device, Error *err);
    // Declares the state of one parameter; returns the number of tensors. State is initialized to zero.
    int (*declare_state)(StateSpec specs[MAX_STATE_TENSORS], const Param *param, const void *options,
                         Type acc_type);
    // Scratch for a list of matrix groups of a model of `type`, on a device (NULL: the CPU). May be NULL: none.
    OptimizerScratch (*scratch)(const MatrixGroup *groups, int n_groups, const void *options, const Device *device,
                                Type type);
    // How parameters with row splits (q, k, v) are viewed. May be NULL: as one matrix.
    SplitLevel (*splits)(const void *options);
    // Returns true if a step synchronizes with the host, so that it cannot be captured in a graph. May be NULL: never.
    bool (*needs_host_sync)(const void *options);
    // Fills the scalars of step t (0-based); lr before the schedule. Scalars that are not set stay 0.
    void (*scalars)(StepScalars *scalars, const void *options, int64_t t);
    // NULL: no decoupled weight decay.
    WeightDecay (*weight_decay)(const void *options);
    // Updates all parameters of one group.
    void (*step)(const OptimizerStep *step);
    // For methods whose evaluation weights differ from their training weights (schedule-free): swaps the master
    // weights in (enter) and back. NULL: evaluates the trained weights.
    void (*evaluation_weights)(const OptimizerStep *step, bool enter);
};

// All optimizers, in the order of the help.
const OptimizerDef *const *optimizer_registry(int *count);
const OptimizerDef *optimizer_find(const char *name, Error *err); // the error suggests the nearest name

int optimizer_option_count(const OptimizerDef *def);
OptionSpec optimizer_option(const OptimizerDef *def, int i); // with this optimizer's default
// Returns the index of an option; -1 with an error that suggests the nearest name and lists all.
int optimizer_option_find(const OptimizerDef *def, const char *name, Error *err);

// Sets every option to its default.
void param_group_init(ParamGroupOptions *group, const OptimizerDef *def);
// Parses and sets one option by name; errors name the option, its range, or the options that exist.
bool param_group_set(ParamGroupOptions *group, const char *name, const char *text, Error *err);
// Returns true if the option stored at `field` of group->values was set explicitly.
bool param_group_given(const ParamGroupOptions *group, const void *field);
// Formats the value of an option so that param_group_set reads back the same value.
void param_group_text(char *text, size_t size, const ParamGroupOptions *group, int option);
WeightDecay param_group_weight_decay(const ParamGroupOptions *group);

// The learning rate of step t (0-based) of total, times the schedule factor.
double scheduled_lr(const ParamGroupOptions *group, int64_t t, int64_t total);

// The values that change from step to step. The host uploads them; operations read them from device memory.
typedef struct {
    double lr[GROUP_COUNT];       // scheduled
    double momentum[GROUP_COUNT]; // warmed up
    double beta1[GROUP_COUNT], beta2[GROUP_COUNT];
    double max_grad_norm; // clip to this global norm; 0: never
    double loss_scale;    // mean loss = *loss * loss_scale
    double loss_limit;    // a mean loss above this makes the step bad; infinity: no limit
} StepInputs;

// A larger gradient norm, after clipping, makes a step bad: its squares would overflow a float, and an infinite second
// moment would silently freeze the weight.
#define MAX_APPLIED_NORM 1e19

// Computed and kept on the device. `applied` is state and is saved in checkpoints.
typedef struct {
    double applied; // steps applied so far, without bad ones: the t of bias corrections
    double bias_correction1[GROUP_COUNT], bias_correction2[GROUP_COUNT]; // 1 - beta^t
    double loss;                                                         // mean loss of this step
    double grad_norm;                                                    // global norm before clipping
    double clip_scale;                                                   // factor on every gradient
    double ok; // 1: the step is applied; 0: loss or gradient not finite or above their limits
} StepReport;

typedef struct Optimizer Optimizer;

enum { MAX_RANKS = 4096 };

// Ranks that share the work on matrices: each computes the polar factors of its share, and all receive all. Weights
// and states are on every rank.
typedef struct {
    int rank, size;
    // data holds the shares of all ranks, of rank r the bytes [begin[r], begin[r + 1]); fills in those of the others.
    void (*gather)(void *context, void *data, const size_t *begin);
    void *context;
} OptimizerExchange;

// Creates the optimizers of all groups for the parameters of a model of `type`; master weights, gradients and states
// have type_accumulate(type). `table` must outlive the optimizer; the options are copied and resolved. Errors: those
// of optimizer_check, no operations for the type, out of memory.
Optimizer *optimizer_create(Device *device, Type type, const ParamTable *table,
                            const ParamGroupOptions groups[GROUP_COUNT], Error *err);
void optimizer_free(Optimizer *optimizer);

// Shares the matrices with other ranks from now on; `exchange` must outlive the optimizer, its size is the device's
// n_ranks. Only on the CPU.
void optimizer_set_exchange(Optimizer *optimizer, const OptimizerExchange *exchange);

// Bytes of state and scratch that optimizer_create allocates on a device (NULL: the CPU). The options must have passed
// optimizer_check.
void optimizer_memory(int64_t *state, int64_t *scratch, const Device *device, const ParamTable *table,
                      const ParamGroupOptions groups[GROUP_COUNT], Type type);

// Bytes of the stream's workspace that a step needs, without the workspace of solvers (QR, Cholesky, SVD).
int64_t optimizer_stream_scratch(const Device *device, const ParamTable *table,
                                 const ParamGroupOptions groups[GROUP_COUNT], Type type);

// Checks routing and options against the table and the device (NULL: not checked) without allocating. Groups without
// parameters are ignored; their def may be NULL.
bool optimizer_check(const Device *device, const ParamTable *table, const ParamGroupOptions groups[GROUP_COUNT],
                     Error *err);

// A step has two parts. The first uploads the scalars of step t (0-based).
void optimizer_begin(Optimizer *optimizer, Stream *stream, int64_t t, int64_t total_steps, double max_grad_norm,
                     double loss_scale, double loss_limit);
// The second is identical in every step, so that it can be captured in a graph: gradient norm, bad-step check, clip
// scale, then each group's update of `master` (and of `weights`, if the type differs). `loss` is the sum of losses, in
// device memory.
void optimizer_update(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                      const double *loss);
// Returns true if optimizer_update synchronizes with the host; otherwise it can be captured (device_can_capture).
bool optimizer_needs_host_sync(const Optimizer *optimizer);

// Both parts.
void optimizer_step(Optimizer *optimizer, Stream *stream, void *master, void *weights, const void *grads,
                    const double *loss, int64_t t, int64_t total_steps, double max_grad_norm, double loss_scale,
                    double loss_limit);

// The report of the last step; synchronizes the stream.
StepReport optimizer_report(const Optimizer *optimizer, Stream *stream);

// Calls the evaluation_weights of each group; a no-op for optimizers without it.
void optimizer_evaluation_weights(Optimizer *optimizer, Stream *stream, void *master, void *weights, bool enter);

// One state tensor, for checkpoints and memory plans. `data` is device memory.
typedef struct {
    char name[128];
    const Param *param;
    StateSpec spec;
    void *data;
} StateTensor;
int optimizer_state_count(const Optimizer *optimizer);
StateTensor optimizer_state(const Optimizer *optimizer, int i);
double optimizer_applied(const Optimizer *optimizer, Stream *stream);

// A matrix as its optimizer views it: q, k and v separate if they are split, no padding rows of the vocabulary.
typedef struct {
    const Param *param;
    ParamGroup group;
    const char *split; // "q", "k", "v"; "" for a whole parameter
    int64_t offset;    // in elements, within the parameter arenas
    int64_t rows, cols;
    const void *momentum; // device memory (rows, cols), of the type of the gradients; NULL: no momentum
} OptimizerMatrix;

// Lists all matrices in parameter order. `matrices` has room for optimizer_matrix_count, an upper bound.
int optimizer_matrix_count(const Optimizer *optimizer);
void optimizer_matrices(OptimizerMatrix *matrices, const Optimizer *optimizer);
void optimizer_set_applied(Optimizer *optimizer, Stream *stream, double applied);

#ifdef __cplusplus
}
#endif
#endif
