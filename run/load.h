// run/load.h - opens what a user names for inference: a run's newest checkpoint.
#ifndef POLAR_RUN_LOAD_H
#define POLAR_RUN_LOAD_H

#include "data/vocab.h"  // defines: Vocab
#include "model/model.h" // defines: Model
#include "run/options.h" // defines: OPTION_TEXT_MAX

#ifdef __cplusplus
extern "C" {
#endif

// What is known of a network before it is loaded.
typedef struct {
    char path[OPTION_TEXT_MAX];
    ModelConfig model;
    char vocab[OPTION_TEXT_MAX];    // as vocab_open takes it
    char val_data[OPTION_TEXT_MAX]; // its own validation: shards ("" if none), tokens, sequence, sequences at once
    int64_t val_tokens;
    int seq_len, micro_batch;
} NetworkInfo;

bool network_info(NetworkInfo *info, const char *path, Error *err);

typedef struct {
    Device *device;
    Stream *stream;
    Vocab *vocab;
    Model model;
    int64_t step; // of the checkpoint
} Network;

// Opens the device and the vocabulary, and loads the weights into a model made for `run`. What the user should know
// (a checkpoint that was passed over) goes to standard error. Nothing stays open after an error.
bool load_network(Network *network, const NetworkInfo *info, const ModelRun *run, const char *device, int threads,
                  Error *err);
void network_close(Network *network);

#ifdef __cplusplus
}
#endif
#endif
