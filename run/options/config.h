// run/options/config.h - the complete configuration of a run as one struct, and its sources: defaults, configuration
// files and the command line, in this order, later ones overriding. Opens no other files.
#ifndef POLAR_RUN_OPTIONS_CONFIG_H
#define POLAR_RUN_OPTIONS_CONFIG_H

#include "data/loader.h"
#include "data/tokenizer/vocab.h"
#include "model/activations.h"
#include "model/config.h"
#include "optim/optimizer.h"
#include "run/options/settings.h"

typedef enum { BAD_STEP_STOP, BAD_STEP_SKIP } OnBadStep;
typedef enum { DTYPE_AUTO, DTYPE_F32, DTYPE_BF16 } DtypeChoice;
typedef enum { NORM_BIAS_AUTO, NORM_BIAS_NO, NORM_BIAS_YES } NormBias;

typedef struct {
    // This process
    char config[OPTION_TEXT_MAX], out[OPTION_TEXT_MAX], resume[OPTION_TEXT_MAX];
    int64_t resume_step; // of the checkpoint that --resume RUN@STEP names; -1: the newest
    bool dry_run, json, overwrite, quiet, measure_peak;
    char device[OPTION_TEXT_MAX];
    int dtype; // DtypeChoice
    int threads;
    int ranks, sum_parts;             // processes; parts of a step (dist/parts.h)
    char rendezvous[OPTION_TEXT_MAX]; // HOST:PORT of rank 0; empty: what the launcher says
    double rendezvous_timeout;
    double max_time; // seconds; 0: no limit

    // Training
    int64_t seed, steps;
    char init_from[OPTION_TEXT_MAX];      // a run or a Hugging Face directory; "": random initial weights
    int batch_size, micro_batch, seq_len; // sequences per step, per micro-batch; tokens per sequence
    bool micro_batch_open;                // --micro-batch 0: a device may choose a larger one
    int recompute;                        // Recompute
    double clip;
    double target_loss; // 0: none
    int on_bad_step;    // OnBadStep
    double loss_jump;   // 0: off
    int max_skips;

    // Data
    char train_data[OPTION_TEXT_MAX], val_data[OPTION_TEXT_MAX], hellaswag[OPTION_TEXT_MAX];
    char vocab[OPTION_TEXT_MAX]; // argument of vocab_open
    int shard_tail;              // ShardTail
    bool align_documents;
    int document_token; // -1: unknown and not needed
    int64_t val_tokens;

    // Reports
    int64_t log_every, eval_every, hellaswag_every, sample_every, checkpoint_every;
    int sample_tokens, keep;
    int64_t diagnose; // steps between diagnostics; 0: none
    bool diagnose_spectrum;
    char sample_prompt[OPTION_TEXT_MAX];

    ModelConfig model;
    int norm_bias; // value of --norm-bias; resolved into model.norm_bias

    ParamGroupOptions groups[GROUP_COUNT]; // GROUP_HEAD is unused if the head is tied
    char note[1024];                       // a note for the user on how options were resolved; "" if none
} RunConfig;

// The options of `train` itself; those of the optimizers come from their registry.
extern const OptionTable run_options;

// The settings as the user wrote them: in the files of --config (later ones override earlier ones) or in the
// configuration of the resumed run, and on the command line.
typedef struct {
    Settings file, arguments;
} ConfigSources;

// Reads what the arguments after the program's name say, and the files they name. Errors: unknown names, with the
// nearest valid one. config_sources_free is called in any case.
bool config_read(ConfigSources *sources, int argc, const char *const *argv, Error *err);
void config_sources_free(ConfigSources *sources);

// Adds a setting that overrides the file as if it were on the command line as if it were.
bool config_add_argument(ConfigSources *sources, const char *name, const char *text, const char *origin,
                         Error *err);

// Builds the configuration from the settings over the defaults. Errors: any value out of range.
bool config_build(RunConfig *config, const ConfigSources *sources, Error *err);

// Sets the options that are derived from others, so that the effective configuration is explicit. `vocab` is that
// of --vocab; it may be NULL for the configuration of a run, which has all derived values. Errors: contradictory
// options.
bool config_resolve(RunConfig *config, const Vocab *vocab, Error *err);

// Refuses arguments that would change the results of the resumed run; config is resolved.
bool config_check_resume(const RunConfig *config, const ConfigSources *sources, Error *err);

// Reads the resolved configuration of a run, DIR/config.conf.
bool config_load_run(RunConfig *config, const char *dir, Error *err);

// Writes the effective configuration; used as --config it reproduces the run.
void config_print(FILE *out, const RunConfig *config);

// For other commands that train, with an option table of their own beside the optimizers' options: adds the settings
// of all --config files, in the order given.
bool config_read_files(Settings *all, const Settings *arguments, const OptionNames *known, Error *err);
// Prints the options of a table, as config_print does.
void config_print_table(FILE *out, const void *base, const OptionTable *table);

// Returns the loader configuration of the run.
LoaderConfig config_loader(const RunConfig *config);

// The type of the model on a device; and a check that the device supports the model in it.
Type config_type(DtypeChoice dtype, const Device *device);
bool config_check_device(const ModelConfig *model, DtypeChoice dtype, const Device *device, Error *err);

// The batch shape that the activations are allocated for.
BatchShape config_batch_shape(const RunConfig *config);

static inline int64_t config_step_tokens(const RunConfig *config) {
    return (int64_t)config->batch_size * config->seq_len;
}
#endif
