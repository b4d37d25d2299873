// run/hf/arch.h - the Hugging Face transformers architectures that map to our model. Each has one table of tensors and
// one of configuration keys, used for both import and export. Internal to run/hf.
#ifndef POLAR_RUN_HF_ARCH_H
#define POLAR_RUN_HF_ARCH_H

#include "base/json.h"
#include "model/params.h"
#include "run/hf/hf.h"

// A Hugging Face tensor is one of our parameters, or its q, k or v rows.
typedef struct {
    ParamKind kind;
    int split;        // 0, 1, 2: the rows of q, k, v; HF_WHOLE
    bool transposed;  // stored as (cols, rows) there
    const char *name; // without the prefix and the layer's "h.3."
} HfTensor;
enum { HF_WHOLE = -1 };

// A number in config.json that maps to a field of ModelConfig.
typedef struct {
    const char *key;
    size_t field;   // offset in ModelConfig
    bool real;      // a double; else an int
    double missing; // default if the key is absent or null; NAN: required; 0: derived from other keys
} HfKey;

// The name of an activation in config.json. For several names of one activation, export writes the first.
typedef struct {
    const char *word;
    ActivationKind activation;
} HfActivation;

// A flag in config.json that our model supports in one position only: it must be absent, null or equal to it.
typedef struct {
    const char *key;
    bool position;
} HfSwitch;

// An architecture and its tables.
typedef struct {
    const char *name;       // "GPT2LMHeadModel"
    const char *model_type; // "gpt2"
    const char *summary;    // description of its models, for error messages
    const char *prefix;     // of all tensors but the head; absent in files of a model saved without its head
    const char *layers;     // between the prefix and a layer's number
    const char *activation_key;
    const char *const *ignored; // name suffixes of buffers that older versions saved
    ModelConfig fixed;          // the fields that the architecture determines
    bool tied_by_default;
    bool has_head_dim; // config.json may have a head_dim other than hidden_size / heads
    const HfTensor *tensors;
    const HfKey *keys;
    const HfActivation *activations;
    const char *const *dropouts; // keys of dropout probabilities, which must be zero
    const HfSwitch *switches;    // all these tables end with an entry whose name is NULL
} HfArch;

extern const HfArch hf_archs[];
extern const int hf_n_archs;

// Opens DIR/config.json; the caller frees *json with json_free(). Errors: unreadable, invalid JSON, an unsupported
// model_type.
bool hf_config_open(Json **json, const HfArch **arch, const char *dir, Error *err);

// Returns the text of config.json; the caller frees it.
char *hf_config_text(size_t *size, const HfArch *arch, const ModelConfig *config, const HfExport *how);

// The same for generation_config.json.
char *hf_generation_text(size_t *size, const HfExport *how);

// Writes DIR/NAME with fsync, and frees the text.
bool hf_write_text(const char *dir, const char *name, char *text, size_t size, Error *err);

// Writes the GPT2Tokenizer files of a byte-pair vocabulary, for sequences of up to `context` tokens. Errors: a
// vocabulary that cannot be expressed as a list of merges.
bool hf_write_tokenizer(const char *dir, const Bpe *bpe, int context, Error *err);

// Returns true if a model configuration fits an architecture; otherwise the error names the option that does not fit.
bool hf_arch_fits(const HfArch *arch, const ModelConfig *config, Error *err);

// A Hugging Face tensor as a slice of one of our parameters.
typedef struct {
    char name[160];
    const Param *param;
    int64_t first;      // its first element within the parameter
    int64_t rows, cols; // in our layout, without the vocabulary padding; a vector has one row
    bool transposed;
} HfSlice;

// Lists the slices of all parameters, in parameter order. Returns their number; the caller frees *slices.
int hf_slices(HfSlice **slices, const HfArch *arch, const ParamTable *table);

// The shape of the Hugging Face tensor; returns the number of dimensions.
int hf_slice_shape(int64_t shape[2], const HfSlice *slice);

#endif
