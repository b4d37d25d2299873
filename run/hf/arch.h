// run/hf/arch.h - the architectures of Hugging Face transformers that our network can be: one table of tensors
// and one of configuration keys each, read in both directions. For huggingface*.c.
#ifndef POLAR_RUN_HF_ARCH_H
#define POLAR_RUN_HF_ARCH_H

#include "base/json.h"
#include "model/params.h"
#include "run/hf/hf.h"

// One tensor of theirs is one parameter of ours, or the q, k or v rows of it.
typedef struct {
    ParamKind kind;
    int split;        // 0, 1, 2: the rows of q, k, v; HF_WHOLE
    bool transposed;  // a matrix of theirs is (cols, rows)
    const char *name; // without its prefix and, in a layer, "h.3."
} HfTensor;
enum { HF_WHOLE = -1 };

// A number in config.json that is a field of our configuration.
typedef struct {
    const char *key;
    size_t field;   // offset in ModelConfig
    bool real;      // a double; else an int
    double missing; // where the key is absent or null; NAN: it must be there; 0: it follows from others
} HfKey;

// A word in config.json for a choice of ours. The first of an activation is the one we write.
typedef struct {
    const char *word;
    ActivationKind activation;
} HfActivation;

// A switch of theirs that our network does not have: it must be absent, null or in the one position.
typedef struct {
    const char *key;
    bool position;
} HfSwitch;

typedef struct {
    const char *name;       // "GPT2LMHeadModel"
    const char *model_type; // "gpt2"
    const char *summary;    // what its networks are, for errors
    const char *prefix;     // of all tensors but the head's; absent in files of the network without its head
    const char *layers;     // between the prefix and a layer's number
    const char *activation_key;
    const char *const *ignored; // buffers that older versions saved: ends of names
    ModelConfig fixed;          // the choices that it leaves no choice of
    bool tied_by_default;
    const HfTensor *tensors;
    const HfKey *keys;
    const HfActivation *activations;
    const char *const *dropouts; // keys of probabilities, which are zero
    const HfSwitch *switches;    // all of these end with an entry whose name is NULL
} HfArch;

extern const HfArch hf_archs[];
extern const int hf_n_archs;

// Opens DIR/config.json; *json is freed with json_free(). Errors: none of ours.
bool hf_config_open(Json **json, const HfArch **arch, const char *dir, Error *err);

// Writes config.json as text, freed with free().
char *hf_config_text(size_t *size, const HfArch *arch, const ModelConfig *config, const HfExport *how);

// The same of generation_config.json.
char *hf_generation_text(size_t *size, const HfExport *how);

// Writes DIR/NAME, synced, and frees the text.
bool hf_write_text(const char *dir, const char *name, char *text, size_t size, Error *err);

// Writes the files of GPT2Tokenizer for a vocabulary of byte pairs, for sequences of `context` tokens. Errors: one that
// cannot be said as a list of merges.
bool hf_write_tokenizer(const char *dir, const Bpe *bpe, int context, Error *err);

// Whether a network can be of an architecture; the error names the option that does not fit.
bool hf_arch_fits(const HfArch *arch, const ModelConfig *config, Error *err);

// A tensor of theirs as a piece of a parameter of ours.
typedef struct {
    char name[160];
    const Param *param;
    int64_t first;      // its first element within the parameter
    int64_t rows, cols; // of ours, the vocabulary's padding left out; a vector has one row
    bool transposed;
} HfPiece;

// The pieces that make up all parameters, in the order of the parameters. Returns their number; *pieces is freed with
// free().
int hf_pieces(HfPiece **pieces, const HfArch *arch, const ParamTable *table);

// Their shape; returns the number of dimensions.
int hf_piece_shape(int64_t shape[2], const HfPiece *piece);

#endif
