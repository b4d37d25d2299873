// run/hf/pretrained.h - opens what a user names for its network: a run, of which the newest checkpoint counts, or a Hugging Face
// directory.
#ifndef POLAR_RUN_HF_PRETRAINED_H
#define POLAR_RUN_HF_PRETRAINED_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "run/options/config.h"

// The configuration of the run, or defaults with the network of the directory.
bool pretrained_config(RunConfig *config, const char *path, Error *err);

// Reads the weights into a model made from that configuration. *step is the checkpoint's; -1: a directory has none.
bool pretrained_weights(int64_t *step, Model *model, Stream *stream, const char *path, Error *err);

// What is known of a network before it is loaded.
typedef struct {
    char path[OPTION_TEXT_MAX];
    ModelConfig model;
    DtypeChoice dtype;
    char vocab[OPTION_TEXT_MAX];    // as vocab_open takes it
    char val_data[OPTION_TEXT_MAX]; // its own validation: shards ("" if none), tokens, sequence, sequences at once
    int64_t val_tokens;
    int seq_len, micro_batch;
} PretrainedInfo;

bool pretrained_info(PretrainedInfo *info, const char *path, Error *err);

typedef struct {
    Device *device;
    Stream *stream;
    Vocab *vocab;
    Model model;
    int64_t step; // of the checkpoint; -1: a Hugging Face directory has none
} Pretrained;

// Opens the device and the vocabulary, and loads the weights into a model made for `run`. What the user should know
// (a checkpoint that was passed over) goes to standard error. Nothing stays open after an error.
bool pretrained_open(Pretrained *pretrained, const PretrainedInfo *info, const BatchShape *run, const char *device,
                     int threads, Error *err);
void pretrained_close(Pretrained *pretrained);
#endif
