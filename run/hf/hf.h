// run/hf/hf.h - import and export of Hugging Face transformers directories: config.json and model.safetensors (or its
// shards with an index).
#ifndef POLAR_RUN_HF_HF_H
#define POLAR_RUN_HF_HF_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"

// Returns true if a directory is a Hugging Face one: it has a config.json, and no config.conf of a run.
bool hf_is_directory(const char *dir);

// Reads the model configuration from config.json. The vocabulary is padded to a multiple of 64; of the initialization,
// only the standard deviation is known. Errors: an unsupported architecture or setting.
bool hf_read_config(ModelConfig *config, const char *dir, Error *err);

// Reads all weights (F32, F64, BF16 or F16) into a model created from that configuration; the vocabulary padding is set
// to zero. Errors name the tensor that is missing, unexpected, or of the wrong type or shape.
bool hf_read_weights(Model *model, Stream *stream, const char *dir, Error *err);

typedef struct {
    Type type;          // of the weights: TYPE_F32 or TYPE_BF16
    const Vocab *vocab; // "none" and "bytes": no tokenizer files are written
    bool overwrite;     // replace an earlier export
} HfExport;

// Writes, atomically, a directory that AutoModelForCausalLM loads. *architecture is the name of its architecture.
// Errors: no architecture fits the model (naming the option); the directory exists.
bool hf_export(const char **architecture, const char *dir, const Model *model, Stream *stream, const HfExport *how,
               Error *err);
#endif
