// run/hf/hf.h - networks as Hugging Face transformers keeps them: a directory with config.json and
// model.safetensors (or shards of it with an index), read and written.
#ifndef POLAR_RUN_HF_HF_H
#define POLAR_RUN_HF_HF_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"

// Whether a directory is one of transformers: it has a config.json, and no config.conf of a run.
bool hf_is_directory(const char *dir);

// The network that config.json describes. The vocabulary is padded to a multiple of 64; of the initialization only
// its standard deviation is known.
// Errors: an architecture or a choice that our network does not have.
bool hf_read_config(ModelConfig *config, const char *dir, Error *err);

// Reads all weights (F32, F64, BF16 or F16) into a model made from that configuration; the vocabulary's padding becomes
// zero. Errors name the tensor that is missing, one too many, or of another type or shape.
bool hf_read_weights(Model *model, Stream *stream, const char *dir, Error *err);

typedef struct {
    Type type;          // of the weights: TYPE_F32 or TYPE_BF16
    const Vocab *vocab; // "none" and "bytes": no files of a tokenizer
    bool overwrite;     // replace an earlier export
} HfExport;

// Writes a directory that AutoModelForCausalLM loads: complete or not there. *architecture is its name. Errors: a
// network that no architecture can be, with the option that does not fit; a directory that exists.
bool hf_export(const char **architecture, const char *dir, const Model *model, Stream *stream, const HfExport *how,
               Error *err);
#endif
