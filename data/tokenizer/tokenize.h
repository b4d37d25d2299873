// data/tokenizer/tokenize.h - `train tokenize`: converts texts to token shards.
#ifndef POLAR_DATA_TOKENIZER_TOKENIZE_H
#define POLAR_DATA_TOKENIZER_TOKENIZE_H

#include "data/tokenizer/vocab.h"

// Input format, after decompression: TEXT, one document per file, or JSONL, lines of JSON objects with a document
// in a string field. AUTO: by file name and content (data/tokenizer/input.h).
typedef enum { FORMAT_AUTO, FORMAT_TEXT, FORMAT_JSONL } TextFormat;

// Lines of JSON to skip and count: those whose text is missing, null or empty; also those that are not objects with
// a string; none.
typedef enum { BAD_DOCUMENT_SKIP_EMPTY, BAD_DOCUMENT_SKIP, BAD_DOCUMENT_STOP } OnBadDocument;

typedef struct {
    int64_t bytes;                   // of text
    int64_t file_bytes, total_bytes; // of the stored files: read so far, and in total; total 0: unknown
    int64_t documents, empty_documents, bad_lines; // tokenized; skipped
    int64_t train_tokens, val_tokens;
    int n_compressed, n_json; // files; without standard input
    int n_shards;
} TokenizeResult;

// Every document is preceded by the end-of-text token. Validation goes to NAME_val_000000.bin, the rest to
// NAME_train_000001.bin, ... of shard_tokens tokens each (the last one shorter); documents may span shards.
typedef struct {
    const Vocab *vocab; // not "none"
    const char *out_dir, *name;
    const char *const *files; // "-" is standard input
    int n_files;
    TextFormat format;
    const char *field; // field of the JSON objects with the text
    OnBadDocument on_bad_document;
    int64_t shard_tokens;
    double val_fraction; // fraction of the bytes of every text, at its end, that becomes a validation document
    int64_t val_tokens;  // if >= 0, instead: the first whole documents, until they have this many tokens
    int threads;
    bool overwrite;
    void (*progress)(const TokenizeResult *so_far); // NULL: none
    int (*stop)(void); // if it returns nonzero, tokenizing stops with an error; NULL: never
} TokenizeConfig;

// Files that are unreadable or not text and, without `overwrite`, existing shards of the same name are errors before
// anything is written; with `overwrite` such shards are removed. The result does not depend on the number of threads.
// Each thread holds about 1 MiB of text, more only if a single line of JSON or a single word is longer. The validation
// shard is completed last. After an error no shard of the dataset is left.
bool tokenize_files(TokenizeResult *result, const TokenizeConfig *config, Error *err);
#endif
