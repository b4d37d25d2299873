// run/hf/pretrained.h - loads a model for inference or initialization from a run (its newest checkpoint) or a Hugging
// Face directory.
#ifndef POLAR_RUN_HF_PRETRAINED_H
#define POLAR_RUN_HF_PRETRAINED_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "run/checkpoint/train_state.h"
#include "run/options/config.h"

// Reads the configuration of the run, or defaults with the model of the Hugging Face directory.
bool pretrained_config(RunConfig *config, const char *path, Error *err);

// Reads the weights into a model created from that configuration. state->step is -1 for a Hugging Face directory.
bool pretrained_weights(RunState *state, Model *model, Stream *stream, const char *path, Error *err);

// What is known before the weights are loaded.
typedef struct {
    char path[OPTION_TEXT_MAX];
    ModelConfig model;
    DtypeChoice dtype;
    char vocab[OPTION_TEXT_MAX];    // argument of vocab_open
    char val_data[OPTION_TEXT_MAX]; // its validation: shards ("" if none), tokens, sequence length, micro-batch
    int64_t val_tokens;
    int seq_len, micro_batch;
} PretrainedInfo;

bool pretrained_info(PretrainedInfo *info, const char *path, Error *err);

typedef struct {
    Device *device;
    Stream *stream;
    Vocab *vocab;
    Model model;
    int64_t step;        // of the checkpoint; -1 for a Hugging Face directory
    bool vocab_verified; // the run records the vocabulary, and it is this one
} Pretrained;

// Opens the device and the vocabulary, and loads the weights into a model created for batches of shape `run`. Warnings
// (a skipped checkpoint) go to standard error. Nothing stays open after an error.
bool pretrained_open(Pretrained *pretrained, const PretrainedInfo *info, const BatchShape *run, const char *device,
                     int threads, Error *err);
void pretrained_close(Pretrained *pretrained);
#endif
